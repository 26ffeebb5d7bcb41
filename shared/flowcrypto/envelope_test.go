package flowcrypto_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

func TestBodiesThatAreEnvelopes(t *testing.T) {
	plain := parse(t, []byte(`{"encrypted_aes_key":"a/8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`))
	want := sha256.Sum256([]byte{0x6b, 0xff, 1, 2, 3, 4, 5, 6})
	if plain.Hash != want {
		t.Fatalf("hash %x, expected SHA-256 over the decoded key, vector and data, %x", plain.Hash, want)
	}
	for name, body := range map[string]string{
		"another order":             `{"encrypted_flow_data":"BAUG","initial_vector":"AQID","encrypted_aes_key":"a/8="}`,
		"white space":               " \r\n\t{ \"encrypted_aes_key\" :\t\"a/8=\" ,\n\"initial_vector\":\"AQID\",\"encrypted_flow_data\":\"BAUG\" } \n",
		"an escaped slash":          `{"encrypted_aes_key":"a\/8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`,
		"unicode escapes":           `{"encrypted_aes_key":"a\u002F8\u003d","initial_vector":"\u0041QID","encrypted_flow_data":"BAU\u0047"}`,
		"an escaped name":           `{"encrypted\u005faes_key":"a/8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`,
		"unknown fields of any":     `{"x":[1,{"y":"]}\"\\"}],"z":null,"n":-1.5e3,"b":true,"o":{},"encrypted_aes_key":"a/8=","s":"\\","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`,
		"an unknown field twice":    `{"x":1,"x":2,"encrypted_aes_key":"a/8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`,
		"a name in another case":    `{"ENCRYPTED_AES_KEY":7,"encrypted_aes_key":"a/8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`,
		"an unknown field of UTF-8": `{"ü":"ö","encrypted_aes_key":"a/8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if e := parse(t, []byte(body)); e.Hash != want {
				t.Errorf("hash %x, expected %x", e.Hash, want)
			}
		})
	}
}

func TestBodiesThatAreNoEnvelopes(t *testing.T) {
	const rest = `"initial_vector":"AQID","encrypted_flow_data":"BAUG"}`
	for _, c := range []struct{ name, body, want string }{
		{"empty", ``, "malformed JSON"},
		{"not JSON", `hello`, "malformed JSON"},
		{"an array", `[]`, "malformed JSON"},
		{"null", `null`, "malformed JSON"},
		{"an empty object", `{}`, "encrypted_aes_key is missing"},
		{"cut off", `{"encrypted_aes_key":"AA=="`, "malformed JSON"},
		{"cut off in a string", `{"encrypted_aes_key":"AA`, "malformed JSON"},
		{"text after the object", `{"encrypted_aes_key":"AA==",` + rest + `x`, "malformed JSON"},
		{"a comma too many", `{"encrypted_aes_key":"AA==","initial_vector":"AQID","encrypted_flow_data":"BAUG",}`, "malformed JSON"},
		{"a bare name", `{encrypted_aes_key:"AA==",` + rest, "malformed JSON"},
		{"a bad escape in a name", `{"encrypted\qaes_key":"AA==",` + rest, "malformed JSON"},
		{"a malformed unknown value", `{"x":{]},"encrypted_aes_key":"AA==",` + rest, "malformed JSON"},
		{"a missing unknown value", `{"x":,"encrypted_aes_key":"AA==",` + rest, "malformed JSON"},
		{"unknown values without end", `{"x":` + strings.Repeat("[", 100_000), "malformed JSON"},
		{"no vector", `{"encrypted_aes_key":"AA==","encrypted_flow_data":"BAUG"}`, "initial_vector is missing"},
		{"no data", `{"encrypted_aes_key":"AA==","initial_vector":"AQID"}`, "encrypted_flow_data is missing"},
		{"a field twice", `{"encrypted_aes_key":"AA==","encrypted_aes_key":"AA==",` + rest, "encrypted_aes_key is there twice"},
		{"an empty field twice", `{"encrypted_aes_key":"","encrypted_aes_key":"",` + rest, "encrypted_aes_key is there twice"},
		{"null", `{"encrypted_aes_key":null,` + rest, "encrypted_aes_key is null"},
		{"a number", `{"encrypted_aes_key":12,` + rest, "encrypted_aes_key is a number"},
		{"an object", `{"encrypted_aes_key":{},` + rest, "encrypted_aes_key is an object"},
		{"an array", `{"encrypted_aes_key":["AA=="],` + rest, "encrypted_aes_key is an array"},
		{"a boolean", `{"encrypted_aes_key":true,` + rest, "encrypted_aes_key is a boolean"},
		{"no padding", `{"encrypted_aes_key":"AA",` + rest, "encrypted_aes_key is not base64"},
		{"the URL alphabet", `{"encrypted_aes_key":"a_8=",` + rest, "encrypted_aes_key is not base64"},
		{"bits behind the last byte", `{"encrypted_aes_key":"AB==",` + rest, "encrypted_aes_key is not base64"},
		{"an escaped line end", `{"encrypted_aes_key":"AA\n==",` + rest, "encrypted_aes_key is not base64"},
		{"a line end by number", `{"encrypted_aes_key":"AA\u000a==",` + rest, "encrypted_aes_key is not base64"},
		{"a raw line end", "{\"encrypted_aes_key\":\"AA\n==\"," + rest, "encrypted_aes_key is not base64"},
		{"a character beyond ASCII", `{"encrypted_aes_key":"\u0141A==",` + rest, "encrypted_aes_key is not base64"},
		{"an escape cut off", `{"encrypted_aes_key":"AA\u00",` + rest, "encrypted_aes_key is not base64"},
		{"text behind the padding", `{"encrypted_aes_key":"AA==\/AAA",` + rest, "encrypted_aes_key is not base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := flowcrypto.ParseEnvelope([]byte(c.body))
			if e != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; expected an error with %q", e, err, c.want)
			}
		})
	}
}

// Escaped base64 is decoded in chunks: each length around a chunk's edge, with
// an escape at each offset there, must agree with the standard library.
func TestEscapedBase64OfEveryLengthAroundAChunk(t *testing.T) {
	for size := 3069; size < 3090; size++ { // 4092 characters and more
		raw := bytes.Repeat([]byte{0xff}, size) // base64 of nothing but slashes
		text := base64.StdEncoding.EncodeToString(raw)
		for _, escaped := range []string{
			strings.ReplaceAll(text, "/", `\/`),
			strings.Replace(text, "/", `\/`, 1),
			text[:4090] + strings.Replace(text[4090:], "/", `\u002f`, 1),
		} {
			want := sha256.Sum256(raw)
			got := parse(t, []byte(`{"encrypted_aes_key":"","initial_vector":"","encrypted_flow_data":"`+escaped+`"}`))
			if got.Hash != want {
				t.Fatalf("%d bytes are decoded wrongly", size)
			}
		}
	}
	padded := strings.Repeat(`\/`, 4094) + "==" + `\/\/\/\/`
	if _, err := flowcrypto.ParseEnvelope([]byte(`{"encrypted_aes_key":"","initial_vector":"","encrypted_flow_data":"` + padded + `"}`)); err == nil {
		t.Error("padding before the end was accepted at a chunk's edge")
	}
}

func FuzzParseEnvelope(f *testing.F) {
	v := loadVectors(f)
	f.Add([]byte(v.Signature.RawBody))
	f.Add([]byte(`{"x":[1,{"y":"]}\"\\"}],"encrypted_aes_key":"a\u002f8=","initial_vector":"AQID","encrypted_flow_data":"BAUG"}`))
	f.Add([]byte(`{"encrypted_aes_key":"AA==","encrypted_aes_key":"AA=="}`))
	keys := backends(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		e, err := flowcrypto.ParseEnvelope(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was modified")
		}

		// encoding/json is the referee for the grammar and the hash.
		var fields map[string]json.RawMessage
		valid := json.Unmarshal(body, &fields) == nil && fields != nil
		if err != nil {
			return
		}
		if !valid {
			t.Fatal("an envelope was read from what is no JSON object")
		}
		var joined []byte
		for _, name := range []string{"encrypted_aes_key", "initial_vector", "encrypted_flow_data"} {
			var text string
			if err := json.Unmarshal(fields[name], &text); err != nil {
				t.Fatalf("field %s: %v", name, err)
			}
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatalf("field %s: %v", name, err)
			}
			joined = slices.Concat(joined, raw)
		}
		if e.Hash != sha256.Sum256(joined) {
			t.Fatal("the hash is not that of the decoded fields")
		}
		// Each backend opens it alike.
		var first []byte
		for i, b := range keys {
			e := parse(t, body)
			plaintext, sealer, err := e.Open(b.key)
			if err == nil {
				sealer.Seal(plaintext)
			} else if err != flowcrypto.ErrCannotDecrypt {
				t.Fatalf("%s: opening gave %v, expected ErrCannotDecrypt", b.name, err)
			}
			if i == 0 {
				first = plaintext
			} else if !bytes.Equal(plaintext, first) || (plaintext == nil) != (first == nil) {
				t.Fatalf("%s opened %q, %s opened %q", b.name, plaintext, keys[0].name, first)
			}
		}
	})
}
