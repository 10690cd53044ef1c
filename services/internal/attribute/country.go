package attribute

import (
	_ "embed" // countries.txt
	"strings"
	"sync"
	"unicode"
)

//go:embed countries.txt
var countryTable string

// Country returns the ISO 3166-1 alpha-2 code of a country given by a code or a name: "de", "DEU", "Germany",
// "Deutschland" are DE. Case, accents and punctuation do not matter. ok is false if the text names no one country.
func Country(s string) (code string, ok bool) {
	if len(s) > 128 {
		return "", false
	}
	code, ok = countries()[countryKey(s)]
	return code, ok
}

var countries = sync.OnceValue(func() map[string]string {
	table := make(map[string]string, 2048)
	for line := range strings.Lines(countryTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		table[countryKey(fields[0])] = fields[0]
		table[countryKey(fields[1])] = fields[0]
		for name := range strings.SplitSeq(fields[2], "|") {
			table[countryKey(name)] = fields[0]
		}
	}
	return table
})

// unaccented maps the accented Latin letters of country names to plain ones.
var unaccented = strings.NewReplacer(
	"á", "a", "à", "a", "â", "a", "ã", "a", "ä", "a", "å", "a", "ā", "a", "ă", "a", "ą", "a", "æ", "ae",
	"ç", "c", "č", "c", "ć", "c", "ď", "d", "đ", "d", "ð", "d",
	"é", "e", "è", "e", "ê", "e", "ë", "e", "ě", "e", "ē", "e", "ę", "e", "ė", "e", "ə", "e",
	"ğ", "g", "í", "i", "ì", "i", "î", "i", "ï", "i", "ī", "i", "ı", "i", "į", "i",
	"ł", "l", "ľ", "l", "ñ", "n", "ň", "n", "ń", "n", "ó", "o", "ò", "o", "ô", "o", "õ", "o", "ö", "o", "ø", "o", "ő", "o", "œ", "oe",
	"ř", "r", "š", "s", "ś", "s", "ş", "s", "ș", "s", "ß", "ss", "ť", "t", "ț", "t", "ţ", "t", "þ", "th",
	"ú", "u", "ù", "u", "û", "u", "ü", "u", "ū", "u", "ů", "u", "ű", "u", "ý", "y", "ÿ", "y", "ž", "z", "ź", "z", "ż", "z",
	"&", " and ", "\u0307", "",
)

// countryKey is what names are compared by: lower case, no accents, words of letters and digits, no leading "the".
func countryKey(s string) string {
	s = unaccented.Replace(strings.ToLower(s))
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsDigit(r):
			b.WriteRune(r)
		case r == '.' || r == '\'' || r == '’':
			// U.S.A. and Côte d'Ivoire are written without, too.
		case b.Len() > 0 && !strings.HasSuffix(b.String(), " "):
			b.WriteByte(' ')
		}
	}
	return strings.TrimPrefix(strings.TrimSpace(b.String()), "the ")
}
