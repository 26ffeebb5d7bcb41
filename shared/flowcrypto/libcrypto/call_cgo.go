//go:build cgo && libcrypto && (!go1.26 || go1.27 || cgocall)

package libcrypto

/*
#cgo noescape rsa_decrypt
#cgo nocallback rsa_decrypt

#include "libcrypto.h"
*/
import "C"

// decrypt is rsa_decrypt: see libcrypto.h. in and out are as long as the modulus.
func decrypt(key *C.EVP_PKEY, context **C.EVP_PKEY_CTX, in, out []byte) int {
	return int(C.rsa_decrypt(key, context,
		(*C.uint8_t)(&in[0]), C.size_t(len(in)), (*C.uint8_t)(&out[0]), C.size_t(len(out))))
}
