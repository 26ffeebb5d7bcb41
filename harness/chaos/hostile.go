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
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	problem string // that each attempt's error must name; empty: any
	atMost  time.Duration
	apart   time.Duration // between the two attempts at least; 0: there is one
	apartBy time.Duration // and at most
}

// hostiles are the receivers, and the file of the authority that a worker is to
// trust. timeout is that of an attempt.
func (s *Scene) hostiles(ctx context.Context, timeout time.Duration, traps *traps) (all []hostile, trust string, err error) {
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
	authority, err := newAuthority(s)
	if err != nil {
		return nil, "", err
	}
	for _, h := range []struct {
		hostile
		ends time.Time
	}{
		{failing(hostile{name: "certificate expired", problem: "certificate has expired", atMost: slack}), time.Now().AddDate(0, 0, -1)},
		// That the authority is trusted: the other one fails for its age alone.
		{hostile{name: "certificate of the same authority that is valid", status: 200, state: "delivered", atMost: slack}, time.Now().AddDate(0, 0, 1)},
	} {
		leaf, err := authority.leaf(h.ends)
		errs = append(errs, err)
		h.url, err = s.serveHostile(func(http.ResponseWriter, *http.Request) {}, &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS12})
		errs = append(errs, err)
		all = append(all, h.hostile)
	}
	port, err := freePort()
	errs = append(errs, err)
	const forbidden = "is not a public address"
	all = append(all,
		failing(hostile{name: "nobody listens", url: "http://" + net.JoinHostPort(allowed.Addr().String(), port), problem: "connection refused", atMost: slack}),
		failing(hostile{name: "address of the cloud's metadata", url: "http://169.254.169.254/", problem: forbidden, atMost: slack}),
		failing(hostile{name: "private address as IPv6", url: "http://[::ffff:10.0.0.1]/", problem: forbidden, atMost: slack}),
	)
	trapped := func(name, host, port string) {
		all = append(all, failing(hostile{name: name, url: "http://" + net.JoinHostPort(host, port), problem: forbidden, atMost: slack}))
	}
	trap, err := traps.set(s, "127.0.0.1", "0")
	if err != nil {
		return nil, "", err
	}
	trapped("address that is not allowed, where somebody listens", "127.0.0.1", trap)
	trapped("the same address as IPv6", "::ffff:127.0.0.1", trap)
	errs = append(errs, serve(failing(hostile{name: "302 to an address that is not allowed", status: 302, atMost: slack}), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:"+trap, http.StatusFound)
	}))
	if _, err := traps.set(s, "::1", trap); err == nil {
		trapped("IPv6 address that is not allowed, where somebody listens", "::1", trap)
	} else {
		s.Note("not tried here, for there is no IPv6: an address of it (%v)", err)
	}
	if leadsAstray(ctx, "localhost") {
		trapped("name that leads to an address that is not allowed", "localhost", trap)
	} else {
		s.Note("not tried here, for localhost is none: a name that leads to an address that is not allowed")
	}
	return all, authority.file, errors.Join(errs...)
}

// serveHostile runs a server until the scene ends and returns its URL.
func (s *Scene) serveHostile(handler http.HandlerFunc, encrypt *tls.Config) (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(allowed.Addr().String(), "0"))
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
	listener, err := net.Listen("tcp", net.JoinHostPort(allowed.Addr().String(), "0"))
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

// authority signs the certificates of receivers. The worker trusts it by
// SSL_CERT_FILE.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newAuthority(s *Scene) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the hostile"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, file: filepath.Join(s.dir, "authority.pem")}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// leaf is a certificate for the address that is allowed, valid until ends.
func (a *authority) leaf(ends time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ends.Unix()), Subject: pkix.Name{CommonName: allowed.Addr().String()}, IPAddresses: []net.IP{allowed.Addr().AsSlice()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func hostileReceivers(ctx context.Context, s *Scene) error {
	timeout := Pick(s, 3*time.Second, 15*time.Second)
	var err error
	if s.Receiver, err = newReceiver(net.JoinHostPort(allowed.Addr().String(), "0"), s.Site.Secrets.CallbackSecret); err != nil {
		return err
	}
	s.Defer(s.Receiver.close)
	traps := new(traps)
	receivers, trust, err := s.hostiles(ctx, timeout, traps)
	if err != nil {
		return err
	}
	w, err := s.StartWorker(ctx, "one", "CALLBACK_ALLOW_CIDRS="+allowed.String(), "SSL_CERT_FILE="+trust)
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
	if n := traps.sprung.Load(); n > 0 {
		s.Miss("%d connections came to addresses that are not allowed", n)
	}
	s.Note("%d hostile receivers; memory %.0f MB before, %.0f MB after", len(receivers), before/1e6, after/1e6)
	if after > before+48e6 {
		s.Miss("memory grew from %.0f to %.0f MB", before/1e6, after/1e6)
	}
	return nil
}

// attempt is one row of attempts.
type attempt struct {
	at      time.Time
	status  int
	took    time.Duration
	problem string
}

// attempts are those at an endpoint, and the state of its delivery.
func (s *Scene) attempts(ctx context.Context, endpoint string) (all []attempt, state string, err error) {
	rows, err := s.db.Query(ctx, `SELECT a.at, coalesce(a.status, 0), a.milliseconds, coalesce(a.error, '') FROM attempts a
		JOIN callback_endpoints e ON e.id = a.endpoint_id WHERE e.name = $1 ORDER BY a.number`, endpoint)
	if err != nil {
		return nil, "", err
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a attempt, err error) {
		var ms int64
		err = row.Scan(&a.at, &a.status, &ms, &a.problem)
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
		if !strings.Contains(a.problem, h.problem) {
			s.Miss("%s: an attempt failed with %q, want %q", h.name, a.problem, h.problem)
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
