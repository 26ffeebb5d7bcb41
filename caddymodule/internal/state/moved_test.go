package state

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// moved is a store whose client believes that all slots are where they were:
// that node sends it on to Redis, through a cable.
func moved(t *testing.T) (bench, *cable) {
	t.Helper()
	b, cable := throughCable(t, Options{})
	old := nodeWithoutSlots(t, cable.listener.Addr().String())
	client := redis.NewClusterClient(&redis.ClusterOptions{
		MaxRedirects: 3, MaxRetries: -1, ContextTimeoutEnabled: true, Protocol: 2, ReadTimeout: 200 * time.Millisecond,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: old}}}}, nil
		},
	})
	t.Cleanup(func() { client.Close() })
	return bench{NewStore(client, b.keys, Options{}), b.client}, cable
}

// nodeWithoutSlots says of every key that it is at to.
func nodeWithoutSlots(t *testing.T, to string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer conn.Close()
				commands := bufio.NewReader(conn)
				for {
					name, err := readCommand(commands)
					answer := "-MOVED 1 " + to
					if name == "hello" || name == "client" {
						answer = "-ERR unknown command"
					}
					if err == nil {
						_, err = io.WriteString(conn, answer+"\r\n")
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { listener.Close(); done.Wait() })
	return listener.Addr().String()
}

// readCommand reads a command as clients send them, and returns its name.
func readCommand(from *bufio.Reader) (name string, err error) {
	var words, size int
	if _, err := fmt.Fscanf(from, "*%d\r\n", &words); err != nil {
		return "", err
	}
	for i := range words {
		if _, err := fmt.Fscanf(from, "$%d\r\n", &size); err != nil {
			return "", err
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(from, word); err != nil {
			return "", err
		}
		if i == 0 {
			name = string(word[:size])
		}
	}
	return name, nil
}

func TestRedirectedCommandWhoseAnswerIsLostIsNotSentAgain(t *testing.T) {
	for name, run := range map[string]func(b bench, shard int) error{
		"an append": func(b bench, shard int) error { return b.Append(t.Context(), shard, webhook("lost")) },
		"a step": func(b bench, shard int) error {
			l := b.lookup("e1", "step-1")
			s := b.step(l, Opened{}, `{}`, "B")
			s.Event.ID = "lost"
			_, err := b.Commit(t.Context(), s)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, cable := moved(t)
			// Or what is lost would be the answer that a script is unknown.
			if err := NewStore(b.client, b.keys, Options{}).load(t.Context()); err != nil {
				t.Fatal(err)
			}
			shard := b.lookup("", "").Shard
			if err := b.Append(t.Context(), shard, webhook("first")); err != nil {
				t.Fatal(err)
			}
			cable.breakAfter(1)
			err := run(b, shard)
			if err == nil || certainlyNotWritten(err) {
				t.Errorf("it ends with %v, expected that nobody knows", err)
			}
			h := history{told: map[string]error{"first": nil, "lost": err, "next": nil}}
			if err := b.Append(t.Context(), shard, webhook("next")); err != nil {
				t.Fatal(err)
			}
			h.check(t, b, shard)
		})
	}
}
