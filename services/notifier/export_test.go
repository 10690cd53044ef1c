package notifier

// For tests of what only a forged or very old token shows.
var (
	EncodeToken = encodeToken
	DecodeToken = decodeToken
)
