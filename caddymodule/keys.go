package caddymodule

import (
	"crypto"
	"crypto/rsa"
	"math/big"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

// keyBackend names what does the private operation of every key in this
// process: "libcrypto (OpenSSL 3.0.19)" or "crypto/rsa".
func keyBackend() string {
	if !libcrypto.Built {
		return "crypto/rsa"
	}
	return "libcrypto (" + libcryptoVersion() + ")"
}

// libcryptoVersion is name and number without the date behind them.
func libcryptoVersion() string {
	words := strings.Fields(libcrypto.Version())
	return strings.Join(words[:min(2, len(words))], " ")
}

// keyBackendInfo is keyBackend for a dashboard. The version of crypto/rsa is
// that of Go.
var keyBackendInfo = func() prometheus.Collector {
	backend, version := "crypto/rsa", runtime.Version()
	if libcrypto.Built {
		backend, version = "libcrypto", libcryptoVersion()
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "private_key_backend_info",
		Help:        "Always 1: what does the private operation of the keys, libcrypto or crypto/rsa.",
		ConstLabels: prometheus.Labels{"backend": backend, "version": version},
	})
	info.Set(1)
	return info
}()

// newAccountKey makes a key ready to use. The private numbers of key are gone
// afterwards when libcrypto holds them.
func newAccountKey(key *rsa.PrivateKey) (accountKey, error) {
	public := key.PublicKey // a copy, which wipe does not reach
	ready := accountKey{Decrypter: crypto.Decrypter(key), public: &public, fingerprint: flowcrypto.Fingerprint(&public)}
	if libcrypto.Built {
		fast, err := libcrypto.New(key)
		if err != nil {
			return accountKey{}, err
		}
		wipe(key)
		ready.Decrypter = fast
	}
	return ready, nil
}

// wipe zeroes the private numbers of key as far as Go lets it. What it cannot
// reach: the copies that crypto/rsa keeps inside for its own operation, and the
// text the key was read from, which Caddy made of a placeholder. Both are left
// to the garbage collector.
func wipe(key *rsa.PrivateKey) {
	numbers := append([]*big.Int{key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}, key.Primes...)
	for _, number := range numbers {
		if number != nil {
			clear(number.Bits())
		}
	}
	*key = rsa.PrivateKey{}
}
