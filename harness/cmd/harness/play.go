package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/play"
)

// playConversations holds the conversations of a flow's folder, or of each flow
// in a folder of flows, against the engine in this process, and prints each
// step. A flow that fails does not keep the next one from being played.
func playConversations(ctx context.Context, args []string) error {
	if len(args) == 1 && slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Print(usage)
		return nil
	}
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, usage)
		return exitError(2)
	}
	folders, err := play.Folders(args[0])
	if err != nil {
		return err
	}
	went := 0
	var failed []error
	for _, folder := range folders {
		n, err := playFolder(ctx, folder)
		if err != nil {
			failed = append(failed, err)
		}
		went += n
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	fmt.Printf("%d conversations went as recorded.\n", went)
	return nil
}

// playFolder plays one flow and says how many conversations it had.
func playFolder(ctx context.Context, folder string) (int, error) {
	example, err := play.Open(folder)
	if err != nil {
		return 0, err
	}
	for _, warning := range example.Definition.Warnings() {
		fmt.Printf("%s: warning: %s\n", example.Name, warning)
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
		return 0, fmt.Errorf("%s: %w", example.Name, err)
	}
	return len(example.Conversations), nil
}
