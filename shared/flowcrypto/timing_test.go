package flowcrypto_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"
)

var oaep = &rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256}

// paddings are blocks of RSA-OAEP (RFC 8017, 7.1.1) of 256 bytes: a sound one,
// and one for each check of 7.1.2 that can fail alone. Manger's attack (2001)
// needs to know of no more than the first byte.
var paddings = map[string]func(block *paddedBlock){
	"sound":                        func(*paddedBlock) {},
	"the first byte is not zero":   func(b *paddedBlock) { b.first = 1 },
	"the hash of another label":    func(b *paddedBlock) { b.data[0] ^= 1 },
	"that hash's last byte":        func(b *paddedBlock) { b.data[31] ^= 1 },
	"no 01 before the message":     func(b *paddedBlock) { clear(b.data[32:]) },
	"another byte instead of 01":   func(b *paddedBlock) { b.data[bytes.IndexByte(b.data[32:], 1)+32] = 2 },
	"a byte among the zeros":       func(b *paddedBlock) { b.data[100] = 0xff },
	"a sound key of 15 bytes":      func(b *paddedBlock) { b.message(15) },
	"a sound key of 17 bytes":      func(b *paddedBlock) { b.message(17) },
	"everything wrong, as if made": func(b *paddedBlock) { b.first = 1; _, _ = rand.Read(b.data) },
}

// paddedBlock is a block before its masks.
type paddedBlock struct {
	first byte
	data  []byte // hash of the label, zeros, 01, message
}

func (b *paddedBlock) message(size int) {
	hash := sha256.Sum256(nil)
	b.data = make([]byte, 256-1-len(hash))
	copy(b.data, hash[:])
	start := len(b.data) - size
	b.data[start-1] = 1
	_, _ = rand.Read(b.data[start:])
}

// encrypted is the ciphertext of a block altered so.
func encrypted(public *rsa.PublicKey, alter func(*paddedBlock)) []byte {
	for {
		var b paddedBlock
		b.message(16)
		alter(&b)
		seed := make([]byte, sha256.Size)
		_, _ = rand.Read(seed)
		mask(b.data, seed)
		mask(seed, b.data)
		block := new(big.Int).SetBytes(slices.Concat([]byte{b.first}, seed, b.data))
		if block.Cmp(public.N) < 0 {
			return block.Exp(block, big.NewInt(int64(public.E)), public.N).FillBytes(make([]byte, 256))
		}
	}
}

// mask is XOR with MGF1 over seed.
func mask(data, seed []byte) {
	for i := 0; i*sha256.Size < len(data); i++ {
		sum := sha256.Sum256(append(bytes.Clone(seed), 0, 0, 0, byte(i)))
		part := data[i*sha256.Size : min(len(data), (i+1)*sha256.Size)]
		for j := range part {
			part[j] ^= sum[j]
		}
	}
}

const (
	timingRounds = 200
	// timingTolerance is the difference of two medians, as a part of the whole
	// operation, that is taken for noise.
	timingTolerance = 0.02
	timingTries     = 5
)

// told returns the kinds of padding that take another time than a sound one in
// each of several tries and always to the same side, with the least difference
// as a part of the whole. In one try all kinds take turns in an order drawn anew
// for each round, so that a busy machine is busy for all of them alike; what is
// left of its noise falls to either side and soon within the tolerance.
func told(public *rsa.PublicKey, measure func(ciphertext []byte) time.Duration) map[string]float64 {
	names := slices.Sorted(maps.Keys(paddings))
	suspects := map[string]float64{}
	for try := range timingTries {
		took := map[string][]time.Duration{}
		ciphertexts := map[string][]byte{}
		for round := range timingRounds {
			if round%16 == 0 { // none of them may be special
				for _, name := range names {
					ciphertexts[name] = encrypted(public, paddings[name])
				}
			}
			for _, i := range mathrand.Perm(len(names)) {
				took[names[i]] = append(took[names[i]], measure(ciphertexts[names[i]]))
			}
		}
		sound := median(took["sound"])
		for _, name := range names {
			difference := median(took[name])/sound - 1
			before, suspect := suspects[name]
			switch {
			case max(difference, -difference) < timingTolerance || (try > 0 && !suspect) || difference*before < 0:
				delete(suspects, name)
			case try == 0 || max(difference, -difference) < max(before, -before):
				suspects[name] = difference
			}
		}
		if len(suspects) == 0 {
			return nil
		}
	}
	return suspects
}

func median(of []time.Duration) float64 {
	slices.Sort(of)
	return float64(of[len(of)/2])
}

func TestTimeTellsNothingOfThePadding(t *testing.T) {
	public := &businessKey(t).PublicKey
	withEachKey(t, func(t *testing.T, key crypto.Decrypter) {
		for name, kind := range paddings {
			message, err := key.Decrypt(rand.Reader, encrypted(public, kind), oaep)
			var want int
			switch name {
			case "sound":
				want = 16
			case "a sound key of 15 bytes":
				want = 15
			case "a sound key of 17 bytes":
				want = 17
			}
			if len(message) != want || (err == nil) != (want > 0) {
				t.Fatalf("%s: %d bytes, %v: the block of this test is not what it says", name, len(message), err)
			}
		}
		for name, difference := range told(public, func(ciphertext []byte) time.Duration {
			return spent(func() { _, _ = key.Decrypt(rand.Reader, ciphertext, oaep) })
		}) {
			t.Errorf("%s takes %+.1f %% of the time of a sound one, in each of %d tries", name, 100*difference, timingTries)
		}
	})
}

// What the test above must find: a key whose answer to a bad padding comes a
// twentieth earlier. Its times are drawn and not measured, those of a machine
// that is busy otherwise: every call takes up to a tenth longer, and every
// fifth waits for the processor.
func TestATimeThatTellsIsFound(t *testing.T) {
	key := businessKey(t)
	sound := map[string]bool{}
	noise := mathrand.New(mathrand.NewPCG(1, 2))
	found := told(&key.PublicKey, func(ciphertext []byte) time.Duration {
		is, known := sound[string(ciphertext)]
		if !known {
			_, err := key.Decrypt(rand.Reader, ciphertext, oaep)
			is = err == nil
			sound[string(ciphertext)] = is
		}
		took := 950 * time.Microsecond
		if is {
			took = time.Millisecond
		}
		took += time.Duration(noise.Int64N(int64(took / 10)))
		if noise.IntN(5) == 0 {
			took += time.Duration(noise.Int64N(int64(10 * time.Millisecond)))
		}
		return took
	})
	for name := range paddings {
		early := name != "sound" && name != "a sound key of 15 bytes" && name != "a sound key of 17 bytes"
		if _, is := found[name]; is != early {
			t.Errorf("%s: found %v, expected %v", name, is, early)
		}
	}
}
