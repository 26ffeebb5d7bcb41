package main

import (
	"context"
	"fmt"
	"os"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/play"
)

// playConversations holds the conversations of a flow's folder against the
// engine in this process, and prints each step.
func playConversations(ctx context.Context, args []string) error {
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, usage)
		return exitError(2)
	}
	example, err := play.Open(args[0])
	if err != nil {
		return err
	}
	for _, warning := range example.Definition.Warnings() {
		fmt.Println("warning:", warning)
	}
	begins := func(c play.Conversation) { fmt.Printf("%s: %s\n", example.Name, c.Name) }
	say := func(s play.Said) {
		fmt.Printf("%4d  %-8s %-14s", s.Number, s.Step.Do, s.Step.From)
		if s.Sent != nil {
			fmt.Printf(" %s", play.Compact(s.Sent))
		}
		fmt.Println()
		if s.Answer != nil {
			fmt.Printf("      %s\n", s.Answer)
		}
	}
	if err := example.Play(ctx, begins, say); err != nil {
		return err
	}
	fmt.Printf("%d conversations went as recorded.\n", len(example.Conversations))
	return nil
}
