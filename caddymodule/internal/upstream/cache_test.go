package upstream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

func body(size int) flow.FetchResult {
	return flow.FetchResult{Status: 200, Body: json.RawMessage(strings.Repeat("1", size))}
}

func TestTheCacheIsBounded(t *testing.T) {
	start := time.Now()
	held := func(c *cache, keys ...string) string {
		var found []string
		for _, key := range keys {
			if _, ok := c.get(key, start, time.Hour); ok {
				found = append(found, key)
			}
		}
		return strings.Join(found, " ")
	}
	t.Run("in entries, oldest out first", func(t *testing.T) {
		c := newCache(2, 1000)
		for _, key := range []string{"a", "b", "c"} {
			c.put(key, body(1), start, time.Hour)
		}
		if got := held(c, "a", "b", "c"); got != "b c" {
			t.Errorf("it holds %q", got)
		}
	})
	t.Run("in bytes, keys included", func(t *testing.T) {
		c := newCache(100, 100)
		c.put("a", body(49), start, time.Hour)
		c.put("b", body(49), start, time.Hour)
		if got := held(c, "a", "b"); got != "a b" || c.held != 100 {
			t.Errorf("it holds %q, %d bytes", got, c.held)
		}
		c.put("c", body(1), start, time.Hour)
		if got := held(c, "a", "b", "c"); got != "b c" || c.held != 52 {
			t.Errorf("it holds %q, %d bytes", got, c.held)
		}
	})
	t.Run("one that would fill all of it is not kept, nor what it was to replace", func(t *testing.T) {
		c := newCache(100, 100)
		c.put("a", body(1), start, time.Hour)
		c.put("b", body(1), start, time.Hour)
		c.put("a", body(200), start, time.Hour)
		if got := held(c, "a", "b"); got != "b" || c.held != 2 {
			t.Errorf("it holds %q, %d bytes", got, c.held)
		}
	})
	t.Run("the expired go first", func(t *testing.T) {
		c := newCache(100, 100)
		c.put("a", body(80), start, time.Second)
		c.put("b", body(1), start.Add(time.Second), time.Hour)
		if len(c.byKey) != 1 || c.queue.Len() != 1 || c.held != 2 {
			t.Errorf("%d entries, %d in the queue, %d bytes", len(c.byKey), c.queue.Len(), c.held)
		}
	})
	t.Run("whatever is put, the sums are right", func(t *testing.T) {
		c := newCache(10, 200)
		for i := range 10_000 {
			c.put(fmt.Sprint("key", i*i%37), body(i*7%90), start, time.Hour)
		}
		sum := 0
		for element := c.queue.Front(); element != nil; element = element.Next() {
			sum += element.Value.(*cached).size()
		}
		if sum != c.held || c.held > 200 || len(c.byKey) > 10 || len(c.byKey) != c.queue.Len() {
			t.Errorf("%d bytes counted, %d there, %d keys, %d in the queue", c.held, sum, len(c.byKey), c.queue.Len())
		}
	})
}

func TestAnAnswerIsAsFreshAsTheAskerWants(t *testing.T) {
	start := time.Now()
	c := newCache(10, 1000)
	c.put("k", body(1), start, time.Minute)
	for _, a := range []struct {
		age, want time.Duration
		found     bool
	}{
		{0, time.Minute, true},
		{59 * time.Second, time.Minute, true},
		{time.Minute, time.Minute, false},
		{30 * time.Second, 10 * time.Second, false}, // another flow wants it fresher
		{2 * time.Minute, time.Hour, true},          // … or takes it older
	} {
		if _, found := c.get("k", start.Add(a.age), a.want); found != a.found {
			t.Errorf("%s old, at most %s wanted: found %v", a.age, a.want, found)
		}
	}
}
