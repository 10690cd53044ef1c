package cloudevent

// TraceParentSize is the length of a W3C trace context of version 00.
const TraceParentSize = 55

// ValidTraceParent says whether s has the form of a W3C trace context of version 00: 00-TRACEID-SPANID-FLAGS in lower-case hex
// digits. Anything else is not passed on: it goes into headers, where only such ids belong.
func ValidTraceParent(s string) bool {
	if len(s) != TraceParentSize {
		return false
	}
	for i := range TraceParentSize {
		switch c := s[i]; {
		case i == 2 || i == 35 || i == 52:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return s[0] == '0' && s[1] == '0'
}
