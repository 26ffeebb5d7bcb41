// Package play holds recorded conversations with a flow in this process, and
// plays the upstreams that flows ask. Together with shared/conversation it is
// what the end-to-end tests hold the same files against the real edge with.
package play

import "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/conversation"

// What a file of conversations holds, and who holds them.
type (
	Conversation = conversation.Conversation
	User         = conversation.User
	Step         = conversation.Step
	Player       = conversation.Player
	Said         = conversation.Said
	Outcome      = conversation.Outcome
)

// Compact is a value as JSON on one line.
func Compact(value any) string { return conversation.Compact(value) }
