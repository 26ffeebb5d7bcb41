package caddymodule

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/hubsignature"
)

// BenchmarkFront is a whole request over a TCP connection that is kept, through
// Caddy with the Caddyfile of the repository: what a refusal, a health check and
// a webhook cost besides their one necessary operation. The client writes and
// reads bytes made ahead; its share is two system calls, and no allocation.
func BenchmarkFront(b *testing.B) {
	s := newSite(b)
	address := s.shipped(b)
	s.publish("default", "booking", bookingJSON(b))
	c := dialRaw(b, address)
	ping := func() []byte {
		return seal(b, s.public, request{"version": "3.0", "action": "ping"}).body
	}
	eventually(b, 5*time.Second, "the published flow is served", func() bool {
		body := ping()
		return c.do(b, rawPost(booking, body, signed(body)[signatureHeader])) == http.StatusOK
	})

	for _, kind := range []struct {
		name    string
		path    string
		status  int
		secret  string
		request func() []byte
	}{
		{"bad signature", booking, statusBadSignature, "another secret", ping},
		{"another key", booking, http.StatusMisdirectedRequest, testSecret, func() []byte {
			var envelope map[string][]byte
			if err := json.Unmarshal(ping(), &envelope); err != nil {
				b.Fatal(err)
			}
			// Refused by its length, before the private operation.
			envelope["encrypted_aes_key"] = envelope["encrypted_aes_key"][1:]
			body, _ := json.Marshal(envelope)
			return body
		}},
		{"ping", booking, http.StatusOK, testSecret, ping},
		{"webhook", hook, http.StatusOK, testSecret, func() []byte {
			body, _ := json.Marshal(request{"id": rand.Text(), "entry": bytes.Repeat([]byte("x"), 600)})
			return body
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			calls := make([][]byte, b.N)
			for i := range calls {
				body := kind.request()
				calls[i] = rawPost(kind.path, body, hubsignature.Sign([]byte(kind.secret), body))
			}
			b.ReportAllocs()
			before := cpuTime(b)
			b.ResetTimer()
			for _, call := range calls {
				if status := c.do(b, call); status != kind.status {
					b.Fatalf("status %d, expected %d", status, kind.status)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// shipped serves the repository's own Caddyfile on a port of this machine.
func (s *site) shipped(t testing.TB) (address string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(address)
	t.Setenv("SITE_ADDRESS", "http://127.0.0.1:"+port)
	text, err := os.ReadFile("../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	config["admin"] = map[string]any{"disabled": true, "config": map[string]any{"persist": false}}
	if adapted, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	return address
}

// rawPost is a request as Meta sends it.
func rawPost(path string, body []byte, signature string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n"+
		"Content-Type: application/json\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", path, signatureHeader, signature, len(body), body)
}

// rawConnection is a kept connection whose client allocates nothing.
type rawConnection struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dialRaw(t testing.TB, address string) *rawConnection {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawConnection{conn: conn, reader: bufio.NewReader(conn)}
}

// do sends a request, reads its whole answer and returns the status.
func (c *rawConnection) do(t testing.TB, request []byte) (status int) {
	t.Helper()
	if _, err := c.conn.Write(request); err != nil {
		t.Fatal(err)
	}
	length := 0
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			t.Fatal(err)
		}
		if value, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 ")); ok {
			status = decimal(value)
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length = decimal(value)
		}
		if len(line) == len("\r\n") {
			break
		}
	}
	if _, err := c.reader.Discard(length); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return status
}

func decimal(text []byte) (n int) {
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}
