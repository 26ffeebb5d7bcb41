package load

import (
	"context"
	"crypto/rsa"
	"errors"
	"sync"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// Keys are AES keys wrapped ahead, so that a request finds its RSA operation
// done. Fill makes them; a phone takes each once.
type Keys struct {
	public *rsa.PublicKey
	ready  chan *phone.SessionKey
}

// NewKeys makes room for so many keys.
func NewKeys(public *rsa.PublicKey, size int) *Keys {
	return &Keys{public: public, ready: make(chan *phone.SessionKey, max(1, size))}
}

// Fill makes keys with so many goroutines until all of the room is taken.
func (k *Keys) Fill(ctx context.Context, goroutines int) error {
	return k.make(ctx, goroutines, func(key *phone.SessionKey) bool {
		select {
		case k.ready <- key:
			return true
		default:
			return false
		}
	})
}

// KeepFull makes keys for those that are taken, until ctx ends.
func (k *Keys) KeepFull(ctx context.Context) error {
	return k.make(ctx, 1, func(key *phone.SessionKey) bool {
		select {
		case k.ready <- key:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

func (k *Keys) make(ctx context.Context, goroutines int, put func(*phone.SessionKey) bool) error {
	errs := make([]error, max(1, goroutines))
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				var key *phone.SessionKey
				if key, errs[i] = phone.NewSessionKey(k.public, nil); errs[i] == nil && !put(key) {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Take is a phone's Keys: a key made ahead, or nil when there is none, or when
// the phone has another public key by now.
func (k *Keys) Take(public *rsa.PublicKey) *phone.SessionKey {
	if public != k.public {
		return nil
	}
	select {
	case key := <-k.ready:
		return key
	default:
		return nil
	}
}
