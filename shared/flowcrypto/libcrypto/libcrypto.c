//go:build cgo && libcrypto

#include "libcrypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rsa.h>

static const char *const names[8] = {
	OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E, OSSL_PKEY_PARAM_RSA_D,
	OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
	OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
	OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

EVP_PKEY *rsa_new(const rsa_numbers *numbers) {
	OSSL_PARAM params[9];
	for (int i = 0; i < 8; i++)
		params[i] = OSSL_PARAM_construct_BN(names[i], numbers->number[i], numbers->size[i]);
	params[8] = OSSL_PARAM_construct_end();

	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	if (context == NULL || EVP_PKEY_fromdata_init(context) <= 0 ||
		EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) <= 0) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	EVP_PKEY_CTX_free(context);
	ERR_clear_error();
	return key;
}

static EVP_PKEY_CTX *new_context(EVP_PKEY *key) {
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	if (context == NULL || EVP_PKEY_decrypt_init(context) <= 0 ||
		EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
		EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) <= 0 ||
		EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) <= 0) {
		EVP_PKEY_CTX_free(context);
		ERR_clear_error();
		return NULL;
	}
	return context;
}

int rsa_decrypt(EVP_PKEY *key, EVP_PKEY_CTX **context, const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size) {
	if (*context == NULL && (*context = new_context(key)) == NULL)
		return -2;
	size_t size = out_size;
	int ok = EVP_PKEY_decrypt(*context, out, &size, in, in_size);
	// The queue is the thread's, and the next call may be on another one. It is
	// cleared whether or not there is something in it.
	ERR_clear_error();
	return ok > 0 ? (int)size : -1;
}
