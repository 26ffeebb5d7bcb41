package chaos

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// hostile is a receiver that misbehaves, and what must come of its one delivery.
type hostile struct {
	name    string
	url     string
	status  int    // of each attempt; 0: none came
	state   string // of the delivery in the end
	atMost  time.Duration
	apart   time.Duration // between the two attempts at least; 0: there is one
	apartBy time.Duration // and at most
}

// hostiles are the receivers. timeout is that of an attempt.
func (s *Scene) hostiles(timeout time.Duration) ([]hostile, error) {
	// A second attempt comes 5 s after the first, a fifth more or less, and is
	// looked for several times a second.
	const least, most = 4 * time.Second, 7 * time.Second
	failing := func(h hostile) hostile {
		h.state = "dead"
		if h.apart == 0 {
			h.apart, h.apartBy = least, most
		}
		return h
	}
	slack := 3 * time.Second // to connect, and for a busy machine
	var all []hostile
	serve := func(h hostile, handler http.HandlerFunc) error {
		url, err := s.serveHostile(handler, nil)
		h.url = url
		all = append(all, h)
		return err
	}
	errs := []error{
		serve(failing(hostile{name: "500", status: 500, atMost: slack}), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }),
		serve(failing(hostile{name: "429 with Retry-After", status: 429, atMost: slack, apart: 7 * time.Second, apartBy: 12 * time.Second}),
			func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "8"); w.WriteHeader(429) }),
		serve(hostile{name: "410", status: 410, state: "due", atMost: slack}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }),
		serve(failing(hostile{name: "302 to 169.254.169.254", status: 302, atMost: slack}), func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		}),
		serve(failing(hostile{name: "header one byte a second", atMost: timeout + slack}), func(w http.ResponseWriter, r *http.Request) {
			raw(w, func(conn net.Conn) { drip(r.Context(), conn, "HTTP/1.1 200 OK\r\nServer: "+strings.Repeat("x", 100)) })
		}),
		serve(hostile{name: "body one byte a second", status: 200, state: "delivered", atMost: timeout + slack}, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			drip(r.Context(), flushed{w}, strings.Repeat("x", 100))
		}),
		serve(hostile{name: "body without end", status: 200, state: "delivered", atMost: timeout + slack}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			_, _ = io.Copy(w, endless{})
		}),
		serve(hostile{name: "gzip bomb", status: 200, state: "delivered", atMost: timeout + slack}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(200)
			_, _ = w.Write(bomb())
		}),
		serve(hostile{name: "reset after the header of a 200", status: 200, state: "delivered", atMost: slack}, func(w http.ResponseWriter, _ *http.Request) {
			raw(w, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
				_ = pause(context.Background(), 100*time.Millisecond) // the header is read by then: a reset takes it along
			})
		}),
		serve(failing(hostile{name: "reset before any answer", atMost: slack}), func(w http.ResponseWriter, _ *http.Request) { raw(w, func(net.Conn) {}) }),
	}
	expired, err := expiredCertificate()
	errs = append(errs, err)
	url, err := s.serveHostile(func(http.ResponseWriter, *http.Request) {}, &tls.Config{Certificates: []tls.Certificate{expired}, MinVersion: tls.VersionTLS12})
	errs = append(errs, err)
	port, err := freePort()
	errs = append(errs, err)
	all = append(all,
		failing(hostile{name: "certificate expired", url: url, atMost: slack}),
		failing(hostile{name: "nobody listens", url: "http://127.0.0.1:" + port, atMost: slack}),
		failing(hostile{name: "address of the cloud's metadata", url: "http://169.254.169.254/", atMost: slack}),
		failing(hostile{name: "private address as IPv6", url: "http://[::ffff:10.0.0.1]/", atMost: slack}),
	)
	// A name that leads to an address that is not allowed, as a rebinding DNS does.
	if found, err := net.DefaultResolver.LookupHost(context.Background(), "ip6-localhost"); err == nil && len(found) == 1 && found[0] == "::1" {
		all = append(all, failing(hostile{name: "name that leads to a forbidden address", url: "http://ip6-localhost:" + port, atMost: slack}))
	}
	return all, errors.Join(errs...)
}

// serveHostile runs a server until the scene ends and returns its URL.
func (s *Scene) serveHostile(handler http.HandlerFunc, encrypt *tls.Config) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	url := "http://" + listener.Addr().String()
	if encrypt != nil {
		listener = tls.NewListener(listener, encrypt)
		url = "https://" + strings.TrimPrefix(url, "http://")
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }() // ends with ErrServerClosed
	s.Defer(server.Close)
	return url, nil
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// raw takes the connection over and ends it with a reset.
func raw(w http.ResponseWriter, do func(net.Conn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	do(conn)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// drip writes one byte a second until the other side has had enough.
func drip(ctx context.Context, w io.Writer, text string) {
	for i := range len(text) {
		if _, err := io.WriteString(w, text[i:i+1]); err != nil || pause(ctx, time.Second) != nil {
			return
		}
	}
}

type flushed struct{ w http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	return n, errors.Join(err, http.NewResponseController(f.w).Flush())
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// bomb is 64 MB of zeros, compressed.
func bomb() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.CopyN(z, endless{}, 64<<20) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

func expiredCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func hostileReceivers(ctx context.Context, s *Scene) error {
	timeout := Pick(s, 3*time.Second, 15*time.Second)
	receivers, err := s.hostiles(timeout)
	if err != nil {
		return err
	}
	w, err := s.StartWorker(ctx, "one")
	if err != nil {
		return err
	}
	for _, h := range receivers {
		if err := s.addEndpoint(ctx, h.name, h.url, timeout, 2); err != nil {
			return err
		}
	}
	before, err := w.Metric(ctx, "process_resident_memory_bytes")
	if err != nil {
		return err
	}
	if err := s.Producer.Add(ctx, 4); err != nil { // the first conversation's reply is the fourth
		return err
	}
	_, err = until(ctx, time.Minute+4*timeout, "every hostile receiver has had its attempts", func(ctx context.Context) error {
		var missing []string
		for _, h := range receivers {
			if attempts, state, err := s.attempts(ctx, h.name); err != nil {
				return err
			} else if state != h.state || len(attempts) == 0 {
				missing = append(missing, fmt.Sprintf("%s: %s after %d attempts", h.name, state, len(attempts)))
			}
		}
		if len(missing) > 0 {
			return errors.New(strings.Join(missing, "; "))
		}
		return nil
	})
	if err != nil {
		s.Miss("%v", err)
	}
	for _, h := range receivers {
		if err := s.judgeHostile(ctx, h); err != nil {
			return err
		}
	}
	after, err := w.Metric(ctx, "process_resident_memory_bytes")
	if err != nil {
		return err
	}
	s.Note("%d hostile receivers; memory %.0f MB before, %.0f MB after", len(receivers), before/1e6, after/1e6)
	if after > before+48e6 {
		s.Miss("memory grew from %.0f to %.0f MB", before/1e6, after/1e6)
	}
	return nil
}

// attempt is one row of attempts.
type attempt struct {
	at     time.Time
	status int
	took   time.Duration
}

// attempts are those at an endpoint, and the state of its delivery.
func (s *Scene) attempts(ctx context.Context, endpoint string) (all []attempt, state string, err error) {
	rows, err := s.db.Query(ctx, `SELECT a.at, coalesce(a.status, 0), a.milliseconds FROM attempts a
		JOIN callback_endpoints e ON e.id = a.endpoint_id WHERE e.name = $1 ORDER BY a.number`, endpoint)
	if err != nil {
		return nil, "", err
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a attempt, err error) {
		var ms int64
		err = row.Scan(&a.at, &a.status, &ms)
		a.took = time.Duration(ms) * time.Millisecond
		return a, err
	})
	if err != nil {
		return nil, "", err
	}
	err = s.db.QueryRow(ctx, `SELECT d.state FROM `+allDeliveries+` d JOIN callback_endpoints e ON e.id = d.endpoint_id WHERE e.name = $1`, endpoint).Scan(&state)
	if errors.Is(err, pgx.ErrNoRows) {
		state, err = "not there yet", nil
	}
	return all, state, err
}

func (s *Scene) judgeHostile(ctx context.Context, h hostile) error {
	all, state, err := s.attempts(ctx, h.name)
	if err != nil {
		return err
	}
	if state != h.state {
		s.Miss("%s: the delivery is %s, want %s", h.name, state, h.state)
	}
	want := 1
	if h.apart > 0 {
		want = 2
	}
	if len(all) != want {
		s.Miss("%s: %d attempts, want %d", h.name, len(all), want)
		return nil
	}
	for _, a := range all {
		if a.status != h.status {
			s.Miss("%s: an attempt has status %d, want %d", h.name, a.status, h.status)
		}
		if a.took > h.atMost {
			s.Miss("%s: an attempt took %s, at most %s may be", h.name, a.took, h.atMost)
		}
	}
	if want == 2 {
		// An attempt's row has the time at which it was over.
		if apart := all[1].at.Add(-all[1].took).Sub(all[0].at); apart < h.apart-200*time.Millisecond || apart > h.apartBy {
			s.Miss("%s: the second attempt came %s after the first, want %s to %s", h.name, duration(apart), h.apart, h.apartBy)
		}
	}
	return nil
}
