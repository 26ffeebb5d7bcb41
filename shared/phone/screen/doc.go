// Package screen is one screen of a flow as the phone shows it: which of its
// components stand there, what they say, what the user has entered, which of it
// the client takes, and what an action posts.
//
// References and expressions are evaluated here, once more and on their own: a
// phone that asked the endpoint's code would not notice that it is wrong.
//
// The rules are those of Meta's pages "Flow JSON" and "Components".
package screen
