package upstream

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWhatAnUpstreamCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		address string
		header  http.Header
		want    string
	}{
		"another scheme":        {"ftp://files.example", nil, `the scheme "ftp", expected http or https`},
		"no scheme":             {"calendar.internal/api", nil, `the scheme "", expected http or https`},
		"a file":                {"file:///etc/passwd", nil, `the scheme "file", expected http or https`},
		"no host":               {"http:///api", nil, "names no host"},
		"a port without a host": {"http://:9000", nil, "names no host"},
		"a password":            {"https://ada:hunter22@calendar.internal", nil, "send them as header Authorization"},
		"a query":               {"https://calendar.internal/?key=hunter22", nil, "holds a query or a fragment"},
		"a fragment":            {"https://calendar.internal/#top", nil, "holds a query or a fragment"},
		"a base path with dots": {"https://calendar.internal/api/../x", nil, "its path holds a segment . or .."},
		"no URL":                {"https://calendar.internal:port/", nil, "cannot be read"},
		"no name of a header":   {"https://x.example", http.Header{"X Key": {"v"}}, `header "X Key": this is no name`},
		"a header of each fetch": {"https://x.example", http.Header{"idempotency-key": {"v"}},
			"header Idempotency-Key cannot be set"},
		"the host":            {"https://x.example", http.Header{"Host": {"v"}}, "header Host cannot be set"},
		"an empty header":     {"https://x.example", http.Header{"X-Key": {""}}, "header X-Key: its value is empty"},
		"a header of 2 lines": {"https://x.example", http.Header{"X-Key": {"hunter22\r\nX-Other: 1"}}, "header X-Key: its value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New("calendar", c.address, c.header, time.Second, 1)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, expected %q", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter22") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}
