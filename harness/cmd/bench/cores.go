package main

import (
	"fmt"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
)

// cores are the CPUs of the edge and those of the generator, Redis and Postgres.
// Both are empty where nothing can be pinned.
type cores struct {
	edge, others []int
}

// divideCores keeps this process, and the servers that it starts from now on, on
// other CPUs than the edge's. On a machine with one CPU nothing is pinned, and
// the second result says so.
func divideCores() (c cores, instead string, err error) {
	server, others, err := load.Cores()
	if err != nil {
		return cores{}, err.Error(), nil
	}
	if err := load.PinSelf(others...); err != nil {
		return cores{}, "", err
	}
	return cores{edge: []int{server}, others: others}, "", nil
}

func (c cores) String() string {
	if len(c.edge) == 0 {
		return "nothing is pinned"
	}
	return fmt.Sprintf("the edge on CPU %d, generator, Redis and Postgres on %v", c.edge[0], c.others)
}
