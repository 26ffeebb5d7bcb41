package redisurl

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTopologies(t *testing.T) {
	for _, c := range []struct {
		url      string
		addrs    []string
		master   string
		cluster  bool
		tls      bool
		user, pw string
		db       int
	}{
		{"redis://cache", []string{"cache:6379"}, "", false, false, "", "", 0},
		{"redis://u:p@cache:1/2", []string{"cache:1"}, "", false, false, "u", "p", 2},
		{"rediss://:p@cache:1", []string{"cache:1"}, "", false, true, "", "p", 0},
		{"redis+sentinel://s1:1,s2,[::1]:3/main/5", []string{"s1:1", "s2:26379", "[::1]:3"}, "main", false, false, "", "", 5},
		{"redis+sentinel://u:p%40@s1/main?sentinel_password=sp&dial_timeout=3s", []string{"s1:26379"}, "main", false, false, "u", "p@", 0},
		{"redis+cluster://a:1,b:2,c", []string{"a:1", "b:2", "c:6379"}, "", true, false, "", "", 0},
		{"rediss+cluster://u:p@a:1?read_timeout=2s", []string{"a:1"}, "", true, true, "u", "p", 0},
	} {
		t.Run(c.url, func(t *testing.T) {
			o, err := Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(o.Addrs, c.addrs) || o.MasterName != c.master || o.IsClusterMode != c.cluster ||
				(o.TLSConfig != nil) != c.tls || o.Username != c.user || o.Password != c.pw || o.DB != c.db {
				t.Errorf("options = %+v", o)
			}
			if strings.Contains(c.url, "sentinel_password") && (o.SentinelPassword != "sp" || o.DialTimeout != 3*time.Second) {
				t.Errorf("options = %+v", o)
			}
		})
	}
}

func TestMistakesAreNamedWithoutTheURL(t *testing.T) {
	for name, c := range map[string]struct{ url, want string }{
		"another kind":              {"http://:geheim@h", "expected redis://"},
		"no scheme":                 {"localhost:6379", "expected redis://"},
		"Sentinel without a master": {"redis+sentinel://:geheim@h:1", "names no master"},
		"a cluster with a database": {"redis+cluster://:geheim@h:1/3", "takes no database number"},
		"a password not encoded":    {"redis://:geheim%@h", "not readable"},
		"no host in the list":       {"redis+cluster://:geheim@h:1,,h:2", "expected redis://"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.url)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, expected %q", err, c.want)
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("error holds the password: %v", err)
			}
		})
	}
}
