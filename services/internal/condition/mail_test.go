package condition

import (
	"regexp"
	"strings"
	"testing"
)

func TestFreeMail(t *testing.T) {
	for domain, want := range map[string]bool{
		"gmail.com": true, "GMX.de": true, "yahoo.co.jp": true, "qq.com": true,
		"acme.example": false, "": false, "mail.acme.example": false, "com": false, "#": false,
	} {
		if got := FreeMail(domain); got != want {
			t.Errorf("FreeMail(%q) = %v", domain, got)
		}
	}
}

func TestEmailDomain(t *testing.T) {
	for email, want := range map[string]string{
		"d@Acme.example": "acme.example", `"a@b"@acme.example`: "acme.example", "nobody": "", "@acme.example": "", "": "", "d@": "",
	} {
		if got := EmailDomain(email); got != want {
			t.Errorf("EmailDomain(%q) = %q; want %q", email, got, want)
		}
	}
}

func TestFreeMailTableIsClean(t *testing.T) {
	domain := regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	seen := map[string]bool{}
	for line := range strings.Lines(freeMailTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for d := range strings.FieldsSeq(line) {
			if !domain.MatchString(d) {
				t.Errorf("%q is not a domain in lower case", d)
			}
			if seen[d] {
				t.Errorf("%q is listed twice", d)
			}
			seen[d] = true
		}
	}
	if len(seen) < 300 {
		t.Errorf("only %d domains", len(seen))
	}
}
