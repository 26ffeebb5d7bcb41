// Package libcrypto does the private operation of an RSA key by OpenSSL, which
// needs a half to a third of the time of crypto/rsa.
//
// It is there in builds with cgo and the tag libcrypto, on a machine with
// libcrypto (OpenSSL) 3.0 or newer and its headers. In others New returns an
// error and Built is false.
package libcrypto

import "errors"

// ErrDecryption is the error of every decryption that gives no message: it
// tells nobody which check failed.
var ErrDecryption = errors.New("libcrypto: the ciphertext does not decrypt with this RSA key")

// ErrClosed is the error of a decryption after Close.
var ErrClosed = errors.New("libcrypto: the RSA key is closed")
