//go:build cgo && libcrypto && go1.26 && !go1.27 && !cgocall

package libcrypto

/*
#include "libcrypto.h"

// The runtime calls C functions of one argument.
typedef struct {
	EVP_PKEY *key;
	EVP_PKEY_CTX *context;
	const uint8_t *in;
	uint8_t *out;
	size_t size;
	int result;
} rsa_call;

static void rsa_decrypt_call(void *p) {
	rsa_call *call = p;
	call->result = rsa_decrypt(call->key, &call->context, call->in, call->size, call->out, call->size);
}

static void *rsa_decrypt_call_address(void) { return rsa_decrypt_call; }
*/
import "C"

import "unsafe"

// A cgo call counts as a system call that may block: after 20 µs the scheduler
// takes the processor away from it and wakes another thread, and when the call
// is over its goroutine waits for a processor. The private operation takes some
// hundred microseconds and never blocks, so all of that is for nothing, and it
// costs a tenth of a flow request (docs/performance.md). asmcgocall calls C on
// the thread's own C stack without telling the scheduler, which is how the
// runtime itself calls the vDSO and, on macOS, libc. To the scheduler the
// operation is then a stretch of Go code without a safe point, as long as half
// of that of crypto/rsa or less.
//
// What C is given here must not call back into Go nor block, and it does not:
// rsa_decrypt computes.
//
// asmcgocall is not part of Go's API. So this file is for the versions of Go
// that it was tried with; with any other, and with the build tag cgocall, the
// call is an ordinary one (call_cgo.go).
//
//go:linkname asmcgocall runtime.asmcgocall
//go:noescape
func asmcgocall(function, argument unsafe.Pointer) int32

var decryptAddress = C.rsa_decrypt_call_address()

// decrypt is rsa_decrypt: see libcrypto.h. in and out are as long as the modulus.
func decrypt(key *C.EVP_PKEY, context **C.EVP_PKEY_CTX, in, out []byte) int {
	call := C.rsa_call{
		key: key, context: *context, size: C.size_t(len(out)),
		in: (*C.uint8_t)(&in[0]), out: (*C.uint8_t)(&out[0]),
	}
	asmcgocall(decryptAddress, unsafe.Pointer(&call))
	*context = call.context
	return int(call.result)
}
