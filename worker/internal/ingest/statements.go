package ingest

// Every statement takes arrays, one for each column, and has the same text
// whatever the number of rows: prepared once, sent in one round trip. Rows are
// ordered by their keys, the order in which every transaction locks them.
//
// What looks rows up by key does so in a LATERAL subquery with LIMIT or OFFSET,
// which the planner must run once for each key, by its index. A plain join it
// may turn into one over the whole table, and does while it knows little of it.
// Nor are two unnests joined: the planner takes each for ten rows and compares
// every one with every other. For the same reason a column that only has to be equal besides is written as
// x || '', which no index has: one that begins with the account looks as good as
// the right one while the table is small, and the plan is kept when it has grown.

const insertKeys = `
	INSERT INTO event_keys (account, kind, dedup)
	SELECT account, kind, dedup FROM unnest($1::text[], $2::text[], $3::text[]) AS k(account, kind, dedup)
	ON CONFLICT DO NOTHING
	RETURNING account, kind, dedup`

const insertEvents = `
	INSERT INTO webhook_events (id, received_at, account, body, problem)
	SELECT id, received_at, account, body, problem
	FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::bytea[], $5::text[]) AS e(id, received_at, account, body, problem)`

const insertMessages = `
	INSERT INTO webhook_messages (account, event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at,
		context_id, error_code, error_title, pricing_model, pricing_type, pricing_category, billable, callback_data)
	SELECT account, event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at,
		context_id, error_code, error_title, pricing_model, pricing_type, pricing_category, billable, callback_data
	FROM unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::text[], $10::timestamptz[],
		$11::text[], $12::int[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bool[], $18::text[])
		AS m(account, event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at,
		context_id, error_code, error_title, pricing_model, pricing_type, pricing_category, billable, callback_data)`

const insertFlowEvents = `
	INSERT INTO flow_events (id, account, webhook_event_id, received_at, position, at, waba_id, meta_flow_id, event, message, warning,
		old_status, new_status, alert_state, threshold, error_rate, availability, p50_latency_ms, p90_latency_ms, requests_count, value)
	SELECT id, account, webhook_event_id, received_at, position, at, waba_id, meta_flow_id, event, message, warning,
		old_status, new_status, alert_state, threshold, error_rate, availability, p50_latency_ms, p90_latency_ms, requests_count, value::json
	FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::int[], $6::timestamptz[], $7::text[], $8::text[], $9::text[],
		$10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::float8[], $16::float8[], $17::float8[], $18::float8[],
		$19::float8[], $20::bigint[], $21::text[])
		AS f(id, account, webhook_event_id, received_at, position, at, waba_id, meta_flow_id, event, message, warning,
		old_status, new_status, alert_state, threshold, error_rate, availability, p50_latency_ms, p90_latency_ms, requests_count, value)`

// The foreign key of a delivery locks its endpoint FOR KEY SHARE until the
// commit: who claims deliveries locks endpoints FOR NO KEY UPDATE at most, or
// skips them all under load.
const insertDeliveries = `
	INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, subject_position, flow,
		ordering_key, traceparent, run_at)
	SELECT id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, subject_position, flow, ordering_key, traceparent,
		now() + make_interval(secs => pause)
	FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::uuid[], $6::timestamptz[], $7::uuid[], $8::timestamptz[], $9::int[],
		$10::text[], $11::text[], $12::text[], $13::int[])
		AS d(id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, subject_position, flow, ordering_key, traceparent, pause)
	ON CONFLICT DO NOTHING`

const insertSteps = `
	INSERT INTO flow_steps (id, at, account, kind, flow, definition, token_hash, version, attempt, action, from_screen, to_screen,
		answers, params, params_hash, outcome, incomplete, milliseconds, error_key, error_message)
	SELECT id, at, account, kind, flow, definition, token_hash, nullif(version, 0), nullif(attempt, 0), action, from_screen, to_screen,
		answers::json, params::json, params_hash, outcome, incomplete, milliseconds, error_key, error_message
	FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::int[],
		$10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bool[], $18::bigint[], $19::text[], $20::text[])
		AS s(id, at, account, kind, flow, definition, token_hash, version, attempt, action, from_screen, to_screen,
		answers, params, params_hash, outcome, incomplete, milliseconds, error_key, error_message)`

// A step is newer by its version, or because its attempt started after everything
// known of the session: the edge lost or forgot the session, and versions and
// attempts start over.
const newer = `(excluded.version > s.version OR excluded.started_at > s.last_activity_at)`

// A session row follows the step of the highest version. A completion that
// arrives after later steps still brings its answers if no newer completion did,
// and completes the session if no newer attempt has begun.
const upsertSessions = `
	INSERT INTO flow_sessions AS s (id, account, flow, flow_id, token_hash, flow_token, user_id, definition, version, attempt, status,
		current_screen, answers, incomplete, started_at, last_activity_at, completed_at)
	SELECT n.id, n.account, n.flow, f.id, n.token_hash, n.flow_token, n.user_id, n.definition, n.version, n.attempt, n.status,
		n.current_screen, n.answers::json, n.incomplete, n.started_at, n.last_activity_at, n.completed_at
	FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::int[], $10::text[],
		$11::text[], $12::text[], $13::bool[], $14::timestamptz[], $15::timestamptz[], $16::timestamptz[])
		WITH ORDINALITY AS n(id, account, flow, token_hash, flow_token, user_id, definition, version, attempt, status,
		current_screen, answers, incomplete, started_at, last_activity_at, completed_at, ord)
	LEFT JOIN LATERAL (
		SELECT f.id FROM flows f WHERE f.account = n.account AND f.name = n.flow AND f.deleted_at IS NULL LIMIT 1) f ON true
	ORDER BY n.ord
	ON CONFLICT (account, flow, token_hash) DO UPDATE SET
		flow_id = coalesce(s.flow_id, excluded.flow_id),
		user_id = coalesce(excluded.user_id, s.user_id),
		definition = CASE WHEN ` + newer + ` THEN coalesce(excluded.definition, s.definition) ELSE s.definition END,
		version = CASE WHEN ` + newer + ` THEN excluded.version ELSE s.version END,
		attempt = CASE WHEN ` + newer + ` THEN excluded.attempt ELSE s.attempt END,
		status = CASE
			WHEN excluded.started_at > s.last_activity_at THEN excluded.status
			WHEN excluded.status = 'completed' AND (excluded.version > s.version OR excluded.attempt = s.attempt) THEN 'completed'
			WHEN excluded.version > s.version AND excluded.attempt <> s.attempt THEN 'active'
			ELSE s.status END,
		current_screen = CASE WHEN ` + newer + ` THEN coalesce(excluded.current_screen, s.current_screen) ELSE s.current_screen END,
		incomplete = CASE WHEN ` + newer + ` THEN excluded.incomplete ELSE s.incomplete END,
		started_at = CASE WHEN ` + newer + ` THEN excluded.started_at ELSE s.started_at END,
		last_activity_at = greatest(s.last_activity_at, excluded.last_activity_at),
		answers = CASE WHEN excluded.completed_at > s.completed_at OR s.completed_at IS NULL AND excluded.completed_at IS NOT NULL
			THEN excluded.answers ELSE s.answers END,
		completed_at = greatest(s.completed_at, excluded.completed_at)
	WHERE ` + newer + `
		OR excluded.completed_at > s.completed_at
		OR s.completed_at IS NULL AND excluded.completed_at IS NOT NULL`

// A session that several flows share one token with is the one that completed,
// else the one that was last active: an answer names no flow.
//
// What two transactions may both bring has its key in event_keys, so that rows
// which are there already are met only when they are older than the keys. Looking
// for them before each insert costs a tenth of storing an answer: it is done once
// an insert has failed for it.
const (
	insertResponses     = responsesOf + returningFlow
	insertSomeResponses = responsesOf + `ON CONFLICT DO NOTHING` + returningFlow
)

const responsesOf = `
	INSERT INTO flow_responses (id, account, source, wamid, context_id, session_id, attempt, flow_id, flow, token_hash, flow_token,
		contact_id, phone_number, user_id, phone_number_id, response_data, response_raw, params_hash, incomplete, webhook_event_id, answered_at,
		attempt_started_at)
	SELECT a.id, a.account, a.source, a.wamid, a.context_id, s.id, coalesce(nullif(a.attempt, 0), s.attempt), coalesce(s.flow_id, f.id),
		coalesce(s.flow, a.flow), a.token_hash, a.flow_token, a.contact_id, a.phone_number, a.user_id, a.phone_number_id,
		a.response_data::json, a.response_raw, a.params_hash, a.incomplete OR coalesce(s.incomplete, false), a.webhook_event_id, a.answered_at,
		a.attempt_started_at
	FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[], $10::text[],
		$11::text[], $12::text[], $13::text[], $14::bytea[], $15::text[], $16::bool[], $17::uuid[], $18::timestamptz[], $19::int[], $20::timestamptz[])
		WITH ORDINALITY AS a(id, account, source, wamid, context_id, flow, token_hash, flow_token, contact_id, phone_number,
		user_id, phone_number_id, response_data, response_raw, params_hash, incomplete, webhook_event_id, answered_at, attempt, attempt_started_at,
		ord)
	LEFT JOIN LATERAL (
		SELECT s.id, s.attempt, s.flow_id, s.flow, s.incomplete FROM flow_sessions s
		WHERE s.account || '' = a.account AND s.token_hash = a.token_hash AND (a.flow IS NULL OR s.flow = a.flow)
		ORDER BY (s.status = 'completed') DESC, s.last_activity_at DESC LIMIT 1) s ON true
	LEFT JOIN LATERAL (
		SELECT f.id FROM flows f WHERE f.account = a.account AND f.name = a.flow AND f.deleted_at IS NULL LIMIT 1) f ON true
	ORDER BY a.ord
	`

const returningFlow = `
	RETURNING id, coalesce(flow, ''), session_id IS NOT NULL`

const upsertSources = `
	INSERT INTO stream_sources AS s (src, shard, seen, mark, marked_at)
	SELECT src, shard, seen::int8multirange, mark, CASE WHEN mark > 0 THEN now() END
	FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[]) AS n(src, shard, seen, mark)
	ON CONFLICT (src, shard) DO UPDATE SET
		seen = s.seen + excluded.seen,
		lost = s.lost - excluded.seen,
		mark = greatest(s.mark, excluded.mark),
		marked_at = CASE WHEN excluded.mark > s.mark THEN now() ELSE s.marked_at END,
		last_seen_at = now()`

const insertDead = `
	INSERT INTO dead_entries (id, account, stream, stream_id, kind, reason, fields)
	SELECT id, account, stream, stream_id, kind, reason, fields
	FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])
		AS d(id, account, stream, stream_id, kind, reason, fields)
	ON CONFLICT DO NOTHING`

// The two halves of a conversation that two transactions stored at the same time
// did not see each other; whichever committed last finds the other here. Answers
// that wait are looked for first, for nearly always there is none. (The 999 ms
// are byMessage.)
const joinSessions = `
	WITH unjoined AS MATERIALIZED (
		SELECT t.account, t.token_hash, r.id FROM unnest($1::text[], $2::text[]) AS t(account, token_hash)
		CROSS JOIN LATERAL (
			SELECT r.id FROM flow_responses r
			WHERE r.account || '' = t.account AND r.token_hash = t.token_hash AND r.session_id IS NULL AND r.source = 'nfm_reply' OFFSET 0) r),
	waiting AS MATERIALIZED (
		SELECT u.id AS response_id, s.* FROM unjoined u CROSS JOIN LATERAL (
			SELECT s.id, s.attempt, s.flow_id, s.flow, s.incomplete FROM flow_sessions s
			WHERE s.account || '' = u.account AND s.token_hash = u.token_hash
			ORDER BY (s.status = 'completed') DESC, s.last_activity_at DESC LIMIT 1) s),
	joined AS (
		UPDATE flow_responses r SET session_id = w.id, attempt = coalesce(r.attempt, w.attempt), flow_id = coalesce(w.flow_id, r.flow_id),
			flow = w.flow, incomplete = r.incomplete OR w.incomplete
		FROM waiting w
		WHERE r.id = w.response_id AND r.session_id IS NULL
		RETURNING r.id, r.account, r.flow, r.answered_at, r.token_hash),
	hurried AS (
		UPDATE deliveries d SET flow = joined.flow,
			run_at = least(d.run_at, greatest(now(), d.created_at + make_interval(secs => coalesce(e.schedule[1], 0))))
		FROM joined CROSS JOIN LATERAL (
				SELECT o.id, o.endpoint_id, o.event_type, o.state, o.body IS NULL AS unsent FROM deliveries o WHERE o.subject_id = joined.id OFFSET 0) o
			JOIN callback_endpoints e ON e.id = o.endpoint_id
		WHERE d.id = o.id AND o.event_type = 'flow.completed' AND o.state = 'due' AND o.unsent AND d.state || '' = 'due' AND d.body IS NULL),
	routed AS (
		INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, flow, ordering_key, run_at)
		SELECT ` + newDeliveryID + `, j.account, e.id, 'flow.completed', ` + completedID + `, j.answered_at + interval '999 milliseconds', j.id, j.answered_at, j.flow,
			CASE WHEN e.ordered THEN j.token_hash END, now() + make_interval(secs => coalesce(e.schedule[1], 0))
		FROM joined j JOIN callback_endpoints e ON e.account IN ('*', j.account) AND e.status <> 'off' AND j.flow = ANY (e.flows)
			AND EXISTS (SELECT FROM unnest(e.events) AS p WHERE p = 'flow.completed'
				OR right(p, 1) = '*' AND starts_with('flow.completed', left(p, -1)))
		ON CONFLICT DO NOTHING)
	SELECT count(*) FROM joined`

// newDeliveryID is a UUIDv7 of the response's time: deliveries are listed in the
// order of their ids.
const newDeliveryID = `(left(j.id::text, 18) || right(gen_random_uuid()::text, 18))::uuid`

// completedID is eventtype.ID of FlowCompleted, whose code is 1: the lowest bit of
// the response's id is turned over.
const completedID = `(left(j.id::text, 35) || translate(right(j.id::text, 1), '0123456789abcdef', '1032547698badcfe'))::uuid`

// Equal answers of many users have equal hashes, so only hashes that an
// incomplete step has are looked for among the answers, and only as far back as
// Meta redelivers: neither grows with what is stored.
const flagIncomplete = `
	WITH p AS MATERIALIZED (
		SELECT account, params_hash FROM unnest($1::text[], $2::text[]) AS p(account, params_hash)
		WHERE EXISTS (SELECT FROM flow_steps s WHERE s.account = p.account AND s.params_hash = p.params_hash AND s.at > now() - interval '8 days'))
	UPDATE flow_responses r SET incomplete = true FROM p
	WHERE r.account || '' = p.account AND r.params_hash = p.params_hash AND NOT r.incomplete AND r.received_at > now() - interval '8 days'`
