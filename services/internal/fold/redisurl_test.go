package fold_test

import (
	"strings"
	"testing"

	"github.com/leadbaton/baton/services/internal/fold"
)

func TestOpenRedisTakesEveryForm(t *testing.T) {
	for _, url := range []string{
		"redis://h:1", "rediss://user:p%40ss@h:1/2", "redis://h:1?cluster=true", "rediss://:pw@a:1,b:2?cluster=true",
		"redis://a:1?master=m", "redis://user:pw@a:1,b:2,[::1]:3/4?master=m&sentinel_password=x",
	} {
		s, err := fold.OpenRedis(fold.RedisOptions{URL: url})
		if err != nil {
			t.Errorf("OpenRedis(%q) = %v", url, err)
			continue
		}
		_ = s.Close()
	}
}

func TestOpenRedisRefusesABadURL(t *testing.T) {
	for url, says := range map[string]string{
		"":                                  "no scheme",
		"localhost:6379":                    "no scheme",
		"http://x:1":                        "scheme",
		"redis://?cluster=true":             "HOST:PORT",
		"redis://a:1,b:2":                   "?cluster=true",
		"redis://a:1,b:2?cluster=yes":       "cluster=true",
		"redis://a:1,b:2/1?cluster=true":    "no databases",
		"redis://a:1,b?master=m":            `"b" is not HOST:PORT`,
		"redis://a:1,b:2?master=":           "lacks the name",
		"redis://a:1?master=m&cluster=true": "either",
		"redis://a:1?master=m&masters=n":    `"masters" is unknown`,
		"redis://a:1/x?master=m":            "database number",
		"redis://a:1?sentinel_password=x":   "master=NAME",
		"http://a:1,b:2?master=m":           "scheme",
	} {
		_, err := fold.OpenRedis(fold.RedisOptions{URL: url})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "want redis://") {
			t.Errorf("OpenRedis(%q) = %v; want an error that says %q and shows the forms", url, err, says)
		}
	}
	for _, url := range []string{
		"redis://user:secret@host:port:x/", "redis://user:secret@a:1,b:2", "redis://a:1?master=&sentinel_password=secret",
		"redis://:secret@a:1,b?cluster=true",
	} {
		if _, err := fold.OpenRedis(fold.RedisOptions{URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("OpenRedis(%q) = %v; want an error without the password", url, err)
		}
	}
}
