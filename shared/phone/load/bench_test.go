package load_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone/phonetest"
)

// fast is an endpoint that costs next to nothing: it knows the AES keys by how
// they are wrapped, so that no RSA is needed, and seals one answer.
type fast struct {
	keys map[[sha256.Size]byte]cipher.AEAD
}

func (f *fast) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var envelope struct {
		Key []byte `json:"encrypted_aes_key"`
		IV  []byte `json:"initial_vector"`
	}
	if json.Unmarshal(body, &envelope) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	aead := f.keys[sha256.Sum256(envelope.Key)]
	if aead == nil {
		w.WriteHeader(421)
		return
	}
	for i := range envelope.IV {
		envelope.IV[i] = ^envelope.IV[i]
	}
	answer := base64.StdEncoding.AppendEncode(nil, aead.Seal(nil, envelope.IV, []byte(`{"screen":"A","data":{}}`), nil))
	_, _ = w.Write(answer)
}

// repeat gives the same bytes again and again, so that the bench knows the AES
// keys of a phone.
type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// BenchmarkRequests is what one request costs the phone and a fast endpoint
// together, over HTTP on this machine: run it with -cpu 1. The keys are wrapped
// ahead; BenchmarkSessionKey is what that costs.
func BenchmarkRequests(b *testing.B) {
	const ahead = 256
	public := &phonetest.Key().PublicKey
	endpoint := &fast{keys: map[[sha256.Size]byte]cipher.AEAD{}}
	var keys []*phone.SessionKey
	for i := range ahead {
		key, err := phone.NewSessionKey(public, repeat(i))
		if err != nil {
			b.Fatal(err)
		}
		block, err := aes.NewCipher(bytesOf(byte(i)))
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCMWithNonceSize(block, 16)
		if err != nil {
			b.Fatal(err)
		}
		wrapped, err := base64.StdEncoding.DecodeString(key.Wrapped())
		if err != nil {
			b.Fatal(err)
		}
		endpoint.keys[sha256.Sum256(wrapped)] = aead
		keys = append(keys, key)
	}
	server := httptest.NewServer(endpoint)
	defer server.Close()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.DisableCompression = 64, true
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	l := newLoad(b, &phonetest.Endpoint{})
	l.Conversations = []conversation.Conversation{{Name: "open", Steps: []conversation.Step{{Do: "init", Shows: "*"}}}}
	l.Users, l.Duration, l.Clock = 16, time.Hour, time.Now
	made, left := l.NewPhone, make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	answered := make(chan struct{})
	var open atomic.Int64
	open.Store(int64(b.N))
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	next := make(chan *phone.SessionKey, ahead)
	for _, key := range keys {
		next <- key
	}
	l.NewPhone = func(token string) *phone.Phone {
		p := made(token)
		p.Keys = func(*rsa.PublicKey) *phone.SessionKey {
			key := <-next
			next <- key
			return key
		}
		p.Send = func(ctx context.Context, body []byte, header map[string]string) (int, []byte, error) {
			select {
			case <-left:
			default:
				<-answered // of the others
				cancel()
				return 0, nil, ctx.Err()
			}
			status, answer, err := post(ctx, client, server.URL, body, header)
			if open.Add(-1) == 0 {
				close(answered)
			}
			return status, answer, err
		}
		return p
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	result, _ := l.Run(ctx)
	used := cpu(b) - before
	b.StopTimer()
	if result.Failed > 0 || open.Load() > 0 {
		b.Fatalf("%d of %d requests were answered: %+v", result.Conversations, b.N, result.Errors)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	// What one core could do if it had nothing else to do: on a machine with
	// other work the rate above says less.
	b.ReportMetric(float64(b.N)/used.Seconds(), "requests/core-s")
}

// cpu is the CPU time of this process, of the kernel too.
func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkSessionKey is the RSA operation of one request.
func BenchmarkSessionKey(b *testing.B) {
	public := &phonetest.Key().PublicKey
	for b.Loop() {
		if _, err := phone.NewSessionKey(public, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeys is what it costs to make keys ahead with all processors.
func BenchmarkKeys(b *testing.B) {
	keys := load.NewKeys(&phonetest.Key().PublicKey, b.N)
	if err := keys.Fill(b.Context(), 1); err != nil {
		b.Fatal(err)
	}
}

func bytesOf(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }

func post(ctx context.Context, client *http.Client, url string, body []byte, header map[string]string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
