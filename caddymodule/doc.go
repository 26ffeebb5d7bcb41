// Package caddymodule is the edge of WhatsApp Flows: Caddy modules that take
// WhatsApp's requests, so that a flow needs no server of its own.
//
//	{
//		whatsapp_flows {
//			redis {env.REDIS_URL}
//			account default {
//				app_secret   {file./run/secrets/app_secret}
//				verify_token {env.META_VERIFY_TOKEN}
//				private_key  {file./run/secrets/flow.pem} {file./run/secrets/flow.pass}
//			}
//		}
//	}
//	flows.example.com {
//		whatsapp_webhook /webhooks/whatsapp
//		whatsapp_flow /flows/endpoint/* {
//			endpoint engine
//		}
//		handle /flows/book {
//			whatsapp_flow {
//				flow book
//			}
//			reverse_proxy app:9000
//		}
//	}
//
// [App] holds the accounts and the Redis client, [FlowHandler] is the endpoint
// of flows, [WebhookHandler] that of webhooks. A flow is answered by an
// [Endpoint]: [Engine] from its definition, or [Next], any Caddy handler behind
// it, from plaintext JSON.
//
// A request travels through flow_handler.go (limits, account, flow),
// flow_exchange.go (signature, envelope, decryption), flow_turn.go (token,
// session, answer) and, when there is no answer, flow_fallback.go. What a flow's
// logic fetches goes through fetches.go to an [Upstream].
//
// Secrets and keys (credentials.go, private_keys.go) are replaced as a whole while
// requests run (reload.go), when Caddy's admin API is asked to (admin_api.go).
// command.go has the commands under `caddy whatsapp-flows`.
package caddymodule
