package condition

import (
	_ "embed" // freemail.txt
	"strings"
	"sync"
)

//go:embed freemail.txt
var freeMailTable string

var freeMail = sync.OnceValue(func() map[string]struct{} {
	table := make(map[string]struct{}, 512)
	for line := range strings.Lines(freeMailTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for domain := range strings.FieldsSeq(line) {
			table[domain] = struct{}{}
		}
	}
	return table
})

// FreeMail says whether a domain is that of a mail provider open to everybody, so that it says nothing about where a
// person works. Case does not matter. It is what lead.freeMail is computed from.
func FreeMail(domain string) bool {
	_, ok := freeMail()[strings.ToLower(domain)]
	return ok
}

// EmailDomain returns what stands after the last @ of an address in lower case; "" if there is none. It is what
// lead.emailDomain is computed from.
func EmailDomain(email string) string {
	at := strings.LastIndexByte(email, '@')
	if at < 1 {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(email[at+1:]))
}
