// The private operation of one RSA key by libcrypto. See key.go for who calls
// it and how.

#ifndef WHATSAPP_FLOWS_LIBCRYPTO_H
#define WHATSAPP_FLOWS_LIBCRYPTO_H

#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>

// rsa_numbers are the numbers of a key, unsigned, in the byte order of the
// machine, as OSSL_PARAM has them.
typedef struct {
	uint8_t *number[8]; // n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p
	size_t size[8];
} rsa_numbers;

// rsa_new makes a key, or returns NULL.
EVP_PKEY *rsa_new(const rsa_numbers *numbers);

// rsa_decrypt undoes RSA-OAEP with SHA-256, MGF1 with SHA-256 and no label.
// *context is a context of the same key that no other thread uses, or NULL: one
// is made then and left there for the next call. out has room for the size of
// the modulus.
//
// It returns the length of the message, -1 when there is none, whatever the
// cause, and -2 when the context could not be made, which depends on no secret.
int rsa_decrypt(EVP_PKEY *key, EVP_PKEY_CTX **context, const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size);

#endif
