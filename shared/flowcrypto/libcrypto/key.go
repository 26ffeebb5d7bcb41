//go:build cgo && libcrypto

package libcrypto

/*
#cgo LDFLAGS: -lcrypto
#cgo noescape rsa_new
#cgo nocallback rsa_new

#include <openssl/opensslv.h>
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3.0 or newer is needed: install its headers, or build without the tag libcrypto"
#endif

#include "libcrypto.h"
#include <openssl/crypto.h>
*/
import "C"

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"
	"sync"
)

// Built says whether this binary has OpenSSL's private operation.
const Built = true

// Key is an RSA key inside libcrypto. It is a crypto.Decrypter of RSA-OAEP with
// SHA-256 for both the label hash and MGF1 and no label, and of nothing else.
// It is safe for concurrent use.
//
// Blinding is on: libcrypto does it for every RSA key whose public exponent it
// knows, unless it is told not to. It also checks each result by the public
// exponent, so that a fault of the machine never gives the key away.
type Key struct {
	public rsa.PublicKey
	handle *handle
}

// handle is what libcrypto holds of a key. A context serves one call at a time,
// so there are as many as calls ever ran at once.
type handle struct {
	mu      sync.Mutex
	key     *C.EVP_PKEY
	idle    []*C.EVP_PKEY_CTX
	running int
	closed  bool
}

// New takes a copy of key into libcrypto. key may be forgotten afterwards.
// Close the Key when it is no longer needed.
func New(key *rsa.PrivateKey) (*Key, error) {
	if len(key.Primes) != 2 {
		return nil, fmt.Errorf("libcrypto: the RSA key has %d primes, expected 2", len(key.Primes))
	}
	if err := key.Validate(); err != nil {
		return nil, fmt.Errorf("libcrypto: the RSA key is not sound: %w", err)
	}
	pkey := newPKey(key)
	if pkey == nil {
		return nil, fmt.Errorf("libcrypto: %s does not take the RSA key: %s", Version(), checkProviders)
	}
	k := &Key{
		public: rsa.PublicKey{N: new(big.Int).Set(key.N), E: key.E},
		handle: &handle{key: pkey},
	}
	runtime.AddCleanup(k, (*handle).close, k.handle) // for a key that was never closed
	if err := k.try(); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// try decrypts once, so that a libcrypto that cannot is found now and not by a
// request.
func (k *Key) try() error {
	message := []byte("one message there and back")
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.public, message, nil)
	if err != nil {
		return fmt.Errorf("libcrypto: trying the RSA key: %w", err)
	}
	got, err := k.Decrypt(nil, ciphertext, &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256})
	if err != nil {
		return fmt.Errorf("trying the RSA key: %w", err)
	}
	if !bytes.Equal(got, message) {
		return fmt.Errorf("libcrypto: %s decrypts wrongly: %s", Version(), checkProviders)
	}
	return nil
}

const checkProviders = "check its configuration file (openssl.cnf) and its providers with `openssl list -providers`"

// newPKey hands the numbers of a key over and zeroes what it wrote them to.
func newPKey(key *rsa.PrivateKey) *C.EVP_PKEY {
	p, q := key.Primes[0], key.Primes[1]
	one := big.NewInt(1)
	rest := func(prime *big.Int) *big.Int {
		less := new(big.Int).Sub(prime, one)
		return less.Mod(key.D, less)
	}
	numbers := [...]*big.Int{
		key.N, big.NewInt(int64(key.E)), key.D, p, q, rest(p), rest(q), new(big.Int).ModInverse(q, p),
	}
	defer func() {
		for _, computed := range numbers[5:] {
			clear(computed.Bits())
		}
	}()
	var pinner runtime.Pinner
	defer pinner.Unpin()
	var native C.rsa_numbers
	for i, number := range numbers {
		digits := number.FillBytes(make([]byte, (number.BitLen()+7)/8))
		defer clear(digits)
		if littleEndian {
			slices.Reverse(digits)
		}
		pinner.Pin(&digits[0])
		native.number[i], native.size[i] = (*C.uint8_t)(&digits[0]), C.size_t(len(digits))
	}
	return C.rsa_new(&native)
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Public returns the public half, an *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return &k.public }

// Decrypt returns the message of a ciphertext as long as the modulus (RFC 8017,
// 7.1.2). Its error is ErrDecryption for every ciphertext that gives none, and
// it does the same work then. random is not used: libcrypto has its own source
// for the blinding.
func (k *Key) Decrypt(_ io.Reader, ciphertext []byte, options crypto.DecrypterOpts) ([]byte, error) {
	oaep, ok := options.(*rsa.OAEPOptions)
	if !ok || oaep.Hash != crypto.SHA256 || (oaep.MGFHash != crypto.SHA256 && oaep.MGFHash != 0) || len(oaep.Label) != 0 {
		return nil, fmt.Errorf("libcrypto: decryption with %T was asked for, expected *rsa.OAEPOptions with SHA-256 for both hashes and no label", options)
	}
	size := k.public.Size()
	if len(ciphertext) != size {
		return nil, ErrDecryption
	}
	context, err := k.handle.take()
	if err != nil {
		return nil, err
	}
	message := make([]byte, size)
	n := decrypt(k.handle.key, &context, ciphertext, message)
	k.handle.put(context)
	runtime.KeepAlive(k)
	if n == -2 {
		return nil, fmt.Errorf("libcrypto: %s does not do RSA-OAEP with SHA-256: %s", Version(), checkProviders)
	}
	// OpenSSL leaves nothing behind the message; that this stays so is not its
	// promise. An answer of -1 has the whole buffer cleared.
	clear(message[max(n, 0):])
	if n < 0 {
		return nil, ErrDecryption
	}
	return message[:n:n], nil
}

// Close frees the key, which zeroes its private numbers, once the calls that
// run have ended; it does not wait for them. Later calls of Decrypt give
// ErrClosed. It may be called again.
func (k *Key) Close() { k.handle.close() }

func (h *handle) take() (*C.EVP_PKEY_CTX, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	h.running++
	if n := len(h.idle); n > 0 {
		context := h.idle[n-1]
		h.idle = h.idle[:n-1]
		return context, nil
	}
	return nil, nil // the call makes one
}

func (h *handle) put(context *C.EVP_PKEY_CTX) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if context != nil {
		h.idle = append(h.idle, context)
	}
	h.freeIfDone()
}

func (h *handle) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.freeIfDone()
}

// freeIfDone is called with the lock held.
func (h *handle) freeIfDone() {
	if !h.closed || h.running > 0 || h.key == nil {
		return
	}
	for _, context := range h.idle {
		C.EVP_PKEY_CTX_free(context)
	}
	C.EVP_PKEY_free(h.key) // RSA_free, which zeroes the private numbers
	h.idle, h.key = nil, nil
}

// Version is that of the library this process runs with, such as
// "OpenSSL 3.0.19 27 Jan 2026".
func Version() string {
	return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION))
}
