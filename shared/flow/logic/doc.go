// Package logic compiles and runs the rules of a flow: what to show, what to
// check, where to go next (docs/logic.md has the grammar).
//
// Compile reads a file of rules, YAML or JSON, for one Flow JSON. It checks all
// that can be known before a user comes: names, types, the routing model, the
// data models, how much an expression could cost. Every mistake is told at
// once, with its place.
//
// The result serves many goroutines. A Turn runs it for one request: Init, Step
// or Back decide, Data gives what a screen needs. Expressions read answers from
// JSON only when they ask for them. The package touches no network and no
// clock; a Fetcher, the time and random bytes are passed in.
package logic
