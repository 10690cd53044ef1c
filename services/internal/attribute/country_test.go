package attribute

import (
	"strings"
	"testing"
)

func TestCountryReadsCodesAndNames(t *testing.T) {
	for in, want := range map[string]string{
		"DE": "DE", "de": "DE", "DEU": "DE", "Germany": "DE", "deutschland": "DE", " Allemagne ": "DE",
		"US": "US", "usa": "US", "U.S.A.": "US", "United States of America": "US", "the united states": "US",
		"UK": "GB", "Great Britain": "GB", "England": "GB", "GBR": "GB",
		"The Netherlands": "NL", "Holland": "NL", "Nederland": "NL",
		"Österreich": "AT", "Osterreich": "AT", "Türkiye": "TR", "Turkey": "TR",
		"Côte d'Ivoire": "CI", "Cote d’Ivoire": "CI", "Ivory Coast": "CI",
		"Korea, Republic of": "KR", "South Korea": "KR", "North Korea": "KP",
		"日本": "JP", "中国": "CN", "Россия": "RU", "España": "ES", "Bosnia and Herzegovina": "BA", "Antigua & Barbuda": "AG",
		"Niger": "NE", "Nigeria": "NG", "Guinea": "GN", "Guinea-Bissau": "GW", "Congo": "CG", "DRC": "CD", "Kosovo": "XK",
	} {
		if got, ok := Country(in); !ok || got != want {
			t.Errorf("Country(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"", " ", "Atlantis", "ZZ", "EU", "Europe", "Germany France", strings.Repeat("a", 1000)} {
		if got, ok := Country(in); ok {
			t.Errorf("Country(%q) = %q; want none", in, got)
		}
	}
}

// Two countries must not share a name, or the reading would depend on the order of the table.
func TestCountryNamesAreUnambiguous(t *testing.T) {
	owner := map[string]string{}
	codes := 0
	for line := range strings.Lines(countryTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		codes++
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(fields) != 3 || len(fields[0]) != 2 || len(fields[1]) != 3 {
			t.Fatalf("malformed line: %q", line)
		}
		for _, name := range append(strings.Split(fields[2], "|"), fields[0], fields[1]) {
			key := countryKey(name)
			if key == "" {
				t.Errorf("%s: %q has no letters", fields[0], name)
			}
			if other, taken := owner[key]; taken && other != fields[0] {
				t.Errorf("%q names %s and %s", name, other, fields[0])
			}
			owner[key] = fields[0]
		}
	}
	if codes != 250 {
		t.Errorf("the table has %d countries; ISO 3166-1 has 249, and Kosovo", codes)
	}
}
