package upstream

import (
	"container/list"
	"sync"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
)

// cache holds answers of upstreams, bounded in number and bytes, oldest out
// first.
type cache struct {
	entries, bytes int

	mu    sync.Mutex
	byKey map[string]*list.Element
	queue *list.List // of *cached, in the order they came
	held  int        // bytes
}

type cached struct {
	key     string
	fetched flow.FetchResult
	since   time.Time
	until   time.Time // what asked for it would not use it any longer
}

func (c *cached) size() int { return len(c.key) + len(c.fetched.Body) }

func newCache(entries, bytes int) *cache {
	return &cache{entries: entries, bytes: bytes, byKey: make(map[string]*list.Element), queue: list.New()}
}

// get returns the answer under key if it is younger than the asker allows.
func (c *cache) get(key string, now time.Time, youngerThan time.Duration) (flow.FetchResult, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[key]
	if !ok {
		return flow.FetchResult{}, false
	}
	entry := element.Value.(*cached)
	if now.Sub(entry.since) >= youngerThan {
		return flow.FetchResult{}, false
	}
	return entry.fetched, true
}

// put keeps an answer in place of an older one. One that would fill more than
// the whole cache is not kept.
func (c *cache) put(key string, fetched flow.FetchResult, now time.Time, keep time.Duration) {
	entry := &cached{key: key, fetched: fetched, since: now, until: now.Add(keep)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.byKey[key]; ok {
		c.drop(old)
	}
	if entry.size() > c.bytes {
		return
	}
	for oldest := c.queue.Front(); oldest != nil; oldest = c.queue.Front() {
		expired := !now.Before(oldest.Value.(*cached).until)
		if !expired && c.queue.Len() < c.entries && c.held+entry.size() <= c.bytes {
			break
		}
		c.drop(oldest)
	}
	c.byKey[key] = c.queue.PushBack(entry)
	c.held += entry.size()
}

func (c *cache) drop(element *list.Element) {
	entry := c.queue.Remove(element).(*cached)
	delete(c.byKey, entry.key)
	c.held -= entry.size()
}
