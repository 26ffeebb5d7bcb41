package play

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// Example is a folder with a flow and conversations held with it.
type Example struct {
	Name          string // the folder's, and so the flow's
	Definition    *flow.Definition
	Conversations []Conversation
}

// Open reads a folder with flow.json, the logic beside it if there is any, and
// conversation.yaml.
func Open(dir string) (*Example, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	flowJSON, err := os.ReadFile(filepath.Join(dir, "flow.json"))
	if err != nil {
		return nil, err
	}
	logic, file, err := flow.ReadLogic(os.DirFS(dir), ".")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	definition, err := flow.Load(flowJSON, logic)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	path := filepath.Join(dir, "conversation.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	conversations, err := conversation.Read(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Example{Name: filepath.Base(dir), Definition: definition, Conversations: conversations}, nil
}

// Folders are the folders to open of a directory: itself if it holds a flow,
// else those in it that do, in order of their names.
func Folders(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, "flow.json")); err == nil {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, entry := range entries {
		folder := filepath.Join(dir, entry.Name())
		if _, err := os.Stat(filepath.Join(folder, "flow.json")); err == nil {
			folders = append(folders, folder)
		}
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("%s holds no flow, expected flow.json, or folders with one", dir)
	}
	return folders, nil
}

var (
	playKey     = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	tokenSecret = []byte("signs the flow tokens of conversations in process")
)

// InProcess is a player of one conversation against the engine in this process.
func (e *Example) InProcess(c Conversation, upstreams *Upstreams) (*Player, error) {
	key, err := playKey()
	if err != nil {
		return nil, err
	}
	token, err := c.FlowToken(e.Name, tokenSecret, time.Now())
	if err != nil {
		return nil, err
	}
	now := c.Now
	if now.IsZero() {
		now = time.Now()
	}
	engine := &Engine{Definition: e.Definition, Key: key, TokenSecret: tokenSecret,
		Now: func() time.Time { return now }, Fetch: client{upstreams}}
	return &Player{
		Phone:     &phone.Phone{PublicKey: &key.PublicKey, Token: token, Flow: e.Definition, Send: engine.Send},
		Upstreams: upstreams, Now: now, Clock: time.Now,
	}, nil
}

// Play holds every conversation of an example in this process, telling say of
// each conversation and each step. It stops at the first that fails.
func (e *Example) Play(ctx context.Context, begins func(Conversation), say func(Said)) error {
	upstreams, err := NewUpstreams()
	if err != nil {
		return err
	}
	defer upstreams.Close() //nolint:errcheck // nothing was written
	for _, c := range e.Conversations {
		begins(c)
		player, err := e.InProcess(c, upstreams)
		if err != nil {
			return err
		}
		player.Say = say
		if _, err := player.Play(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
