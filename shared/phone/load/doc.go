// Package load puts the load of many phones on an endpoint: users who hold
// conversations one after the other, each request sealed, signed and judged as
// by one phone. The transport and the clock are passed in.
package load
