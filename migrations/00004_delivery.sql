-- +goose Up
-- Several receivers, every kind of event, and what is delivered kept apart from
-- what is still to be delivered.

-- ---------------------------------------------------------------- endpoints

-- status: active; paused (by the operator: deliveries wait); disabled (by 410 Gone
-- or days of failures: deliveries wait); off (nothing is routed to it).
ALTER TABLE callback_endpoints
    ADD description         text        NOT NULL DEFAULT '',
    ADD status              text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled', 'off')),
    ADD status_reason       text,
    ADD status_since        timestamptz NOT NULL DEFAULT now(),
    ADD events              text[]      NOT NULL DEFAULT '{flow.completed}', -- event types, or patterns such as flow.* and *
    ADD flows               text[],                                          -- names; null: every flow
    ADD payload             text        NOT NULL DEFAULT 'seed' CHECK (payload IN ('seed', 'event', 'raw')),
    ADD secret_expiries     timestamptz[],                                   -- beside secrets; null, whole or an element: valid without end
    ADD headers             json        NOT NULL DEFAULT '{}',               -- name to value, sent with every request
    ADD auth                text,                                            -- value of the Authorization header
    ADD schedule            integer[],                                       -- seconds before each attempt, the first included; null: the default
    ADD rate_limit          double precision CHECK (rate_limit > 0),         -- requests a second; null: none
    ADD rate_tokens         double precision NOT NULL DEFAULT 0,
    ADD rate_at             timestamptz NOT NULL DEFAULT now(),
    ADD ordered             boolean     NOT NULL DEFAULT false,              -- one in flight for each flow token
    ADD failing_since       timestamptz,                                     -- first of the consecutive failures
    ADD disable_after_hours integer     NOT NULL DEFAULT 120,                -- of failures without a success; 0: never
    ADD revision            bigint      NOT NULL DEFAULT 1;                  -- counts changes: what an ETag is made of

UPDATE callback_endpoints SET
    status = CASE WHEN NOT enabled THEN 'off' WHEN paused_until = 'infinity' THEN 'disabled' ELSE 'active' END,
    status_reason = CASE WHEN enabled AND paused_until = 'infinity' THEN 'the receiver answered 410 Gone' END,
    paused_until = CASE WHEN paused_until = 'infinity' THEN NULL ELSE paused_until END;
ALTER TABLE callback_endpoints DROP enabled;

-- What happens to an endpoint is an event too.
CREATE TABLE endpoint_events (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    account     text        NOT NULL DEFAULT 'default',
    endpoint_id uuid        NOT NULL REFERENCES callback_endpoints (id) ON DELETE CASCADE,
    name        text        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('disabled', 'enabled')),
    reason      text
);
CREATE INDEX endpoint_events_endpoint ON endpoint_events (endpoint_id, at);

-- ---------------------------------------------------------------- deliveries

-- Only open work: what is finished moves to delivery_history. event_id is the
-- webhook-id: the same for every attempt, every endpoint and every replay. The
-- subject is the row that the body is rendered from, at the first attempt:
--   flow.completed                        flow_responses (id)
--   flow.started, flow.screen, flow.error flow_steps (at, id)
--   message.received, message.status      webhook_messages (event_at, event_id, position)
--   flow.status_changed, flow.alert       flow_events (id)
--   webhook.received                      webhook_events (received_at, id)
--   endpoint.disabled, endpoint.enabled   endpoint_events (id)
ALTER TABLE deliveries
    ADD event_id         uuid,
    ADD event_at         timestamptz, -- when it happened, by the edge's or Meta's clock; of an answer that a message brought, whose time has whole seconds, 999 ms later
    ADD subject_id       uuid,
    ADD subject_at       timestamptz,
    ADD subject_position integer,
    ADD flow             text,
    ADD ordering_key     text,        -- hash of the flow token, for an ordered endpoint
    ADD traceparent      text,
    ADD replay           boolean NOT NULL DEFAULT false, -- sent after what is live
    ADD attempt_base     integer NOT NULL DEFAULT 0,     -- attempts made before the latest replay
    ADD leased_by        text;                           -- name of the worker that claimed it last

CREATE TABLE delivery_history (
    id               uuid        NOT NULL,
    account          text        NOT NULL DEFAULT 'default',
    endpoint_id      uuid        NOT NULL,
    endpoint_name    text        NOT NULL,
    event_type       text        NOT NULL,
    event_id         uuid        NOT NULL,
    event_at         timestamptz NOT NULL,
    subject_id       uuid        NOT NULL,
    subject_at       timestamptz NOT NULL,
    subject_position integer,
    flow             text,
    ordering_key     text,
    traceparent      text,
    replay           boolean     NOT NULL DEFAULT false,
    state            text        NOT NULL CHECK (state IN ('delivered', 'dead', 'cancelled')),
    attempt          integer     NOT NULL,
    body             bytea,       -- null: a raw webhook, or never rendered
    last_status      integer,
    last_error       text,
    created_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    PRIMARY KEY (id, finished_at)
) PARTITION BY RANGE (finished_at);
CREATE INDEX delivery_history_event ON delivery_history (event_id);
CREATE INDEX delivery_history_subject ON delivery_history (subject_id);
CREATE INDEX delivery_history_endpoint ON delivery_history (endpoint_id, finished_at, id);
CREATE INDEX delivery_history_dead ON delivery_history (endpoint_id, finished_at) WHERE state = 'dead';
CREATE TABLE delivery_history_default PARTITION OF delivery_history DEFAULT;

INSERT INTO delivery_history (id, account, endpoint_id, endpoint_name, event_type, event_id, event_at, subject_id, subject_at, flow,
    state, attempt, body, last_status, last_error, created_at, finished_at)
SELECT d.id, d.account, d.endpoint_id, e.name, 'flow.completed', d.id, r.answered_at, r.id, r.received_at, r.flow,
    d.state, d.attempt, d.body, d.last_status, d.last_error, d.created_at, coalesce(d.finished_at, now())
FROM deliveries d JOIN callback_endpoints e ON e.id = d.endpoint_id JOIN flow_responses r ON r.id = d.response_id
WHERE d.state IN ('delivered', 'dead');
DELETE FROM deliveries WHERE state IN ('delivered', 'dead');
UPDATE deliveries d SET event_id = d.id, event_type = 'flow.completed', subject_id = r.id, subject_at = r.received_at,
    event_at = r.answered_at, flow = r.flow
FROM flow_responses r WHERE r.id = d.response_id;

DROP INDEX deliveries_due, deliveries_leased, deliveries_response;
ALTER TABLE deliveries
    DROP CONSTRAINT deliveries_state_check,
    ADD CONSTRAINT deliveries_state_check CHECK (state IN ('due', 'leased')),
    DROP response_id, -- and with it the unique key
    DROP finished_at,
    ALTER event_id SET NOT NULL,
    ALTER event_at SET NOT NULL,
    ALTER subject_id SET NOT NULL,
    ALTER subject_at SET NOT NULL;
CREATE INDEX deliveries_due ON deliveries (endpoint_id, replay, run_at) WHERE state = 'due';
CREATE INDEX deliveries_leased ON deliveries (endpoint_id, lease_until) WHERE state = 'leased';
CREATE UNIQUE INDEX deliveries_event ON deliveries (event_id, endpoint_id);
CREATE INDEX deliveries_subject ON deliveries (subject_id);
CREATE INDEX deliveries_order ON deliveries (endpoint_id, ordering_key, event_at, id) WHERE ordering_key IS NOT NULL;

ALTER TABLE dead_entries ADD requeued_at timestamptz;
CREATE INDEX dead_entries_at ON dead_entries (account, at, id);

-- ---------------------------------------------------------------- messages

-- By day, as the raw webhooks they point into, and with what Meta says of a
-- status.
ALTER TABLE webhook_messages RENAME TO webhook_messages_old;
ALTER INDEX webhook_messages_pkey RENAME TO webhook_messages_old_pkey;
DROP INDEX webhook_messages_wamid, webhook_messages_contact;
CREATE TABLE webhook_messages (
    account          text        NOT NULL DEFAULT 'default',
    event_id         uuid        NOT NULL,
    event_at         timestamptz NOT NULL,
    position         integer     NOT NULL, -- running number inside the event
    kind             text        NOT NULL, -- message | status
    type             text,                 -- message type, or the status
    wamid            text,
    context_id       text,                 -- wamid of the message that was answered
    contact_id       uuid,
    phone_number_id  text,
    at               timestamptz,
    error_code       integer,              -- of a status: errors[0]
    error_title      text,
    pricing_model    text,
    pricing_type     text,
    pricing_category text,
    billable         boolean,
    callback_data    text,                 -- biz_opaque_callback_data
    PRIMARY KEY (event_at, event_id, position)
) PARTITION BY RANGE (event_at);
CREATE INDEX webhook_messages_wamid ON webhook_messages (account, wamid);
CREATE INDEX webhook_messages_contact ON webhook_messages (contact_id) WHERE contact_id IS NOT NULL;
CREATE TABLE webhook_messages_default PARTITION OF webhook_messages DEFAULT;
INSERT INTO webhook_messages (account, event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at)
SELECT account, event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at FROM webhook_messages_old;
DROP TABLE webhook_messages_old;

-- A key is kept long, and a phone number is not its business.
UPDATE event_keys SET dedup = encode(sha256(convert_to(dedup, 'UTF8')), 'hex') WHERE kind = 'status';

-- ---------------------------------------------------------------- flows

-- What Meta reports about flows: the webhook field "flows".
CREATE TABLE flow_events (
    id               uuid PRIMARY KEY,
    account          text        NOT NULL DEFAULT 'default',
    webhook_event_id uuid        NOT NULL,
    received_at      timestamptz NOT NULL, -- of the webhook
    position         integer     NOT NULL, -- running number inside the webhook
    at               timestamptz NOT NULL, -- entry.time, else received_at
    waba_id          text,
    meta_flow_id     text,
    event            text        NOT NULL, -- FLOW_STATUS_CHANGE, ENDPOINT_ERROR_RATE, …
    message          text,
    warning          text,
    old_status       text,
    new_status       text,
    alert_state      text,        -- ACTIVATED | DEACTIVATED
    threshold        double precision,
    error_rate       double precision, -- per cent
    availability     double precision, -- per cent
    p50_latency_ms   double precision,
    p90_latency_ms   double precision,
    requests_count   bigint,
    value            json        NOT NULL -- as it came
);
CREATE INDEX flow_events_at ON flow_events (account, at, id);
CREATE INDEX flow_events_flow ON flow_events (account, meta_flow_id, at);

-- ---------------------------------------------------------------- erasure

-- What was asked to be erased and what was found; holds no name, number or token.
CREATE TABLE erasures (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    account    text        NOT NULL,
    identified text        NOT NULL CHECK (identified IN ('phone_number', 'user_id', 'flow_token')),
    report     json        NOT NULL -- table or store to number of rows
);

-- One person is found by contact; deliveries by their subjects.
CREATE INDEX flow_responses_contact ON flow_responses (contact_id) WHERE contact_id IS NOT NULL;

-- ---------------------------------------------------------------- speed of intake

-- What tells rows apart comes first, the account last or not at all: in most
-- installations all rows have the same, and it would be compared first at every
-- level of the index.
DROP INDEX flow_responses_wamid, flow_responses_token, flow_responses_params, flow_responses_phone, flow_responses_user, flow_sessions_token;
CREATE UNIQUE INDEX flow_responses_wamid ON flow_responses (wamid, account) WHERE wamid IS NOT NULL;
CREATE INDEX flow_responses_token ON flow_responses (token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX flow_responses_params ON flow_responses (params_hash, received_at) WHERE params_hash IS NOT NULL AND NOT incomplete;
CREATE INDEX flow_responses_phone ON flow_responses (phone_number) WHERE phone_number IS NOT NULL;
CREATE INDEX flow_responses_user ON flow_responses (user_id) WHERE user_id IS NOT NULL;
ALTER TABLE flow_sessions DROP CONSTRAINT flow_sessions_account_flow_token_hash_key,
    ADD CONSTRAINT flow_sessions_token UNIQUE (token_hash, flow, account);

-- +goose Down
-- The rows of finished deliveries, messages' details and what Meta said of flows
-- are lost: there is no place for them before this version.
DROP TABLE erasures, flow_events;
DROP INDEX flow_responses_contact;
DROP INDEX flow_responses_wamid, flow_responses_token, flow_responses_params, flow_responses_phone, flow_responses_user;
CREATE UNIQUE INDEX flow_responses_wamid ON flow_responses (account, wamid) WHERE wamid IS NOT NULL;
CREATE INDEX flow_responses_token ON flow_responses (account, token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX flow_responses_params ON flow_responses (account, params_hash, received_at) WHERE params_hash IS NOT NULL AND NOT incomplete;
CREATE INDEX flow_responses_phone ON flow_responses (account, phone_number) WHERE phone_number IS NOT NULL;
CREATE INDEX flow_responses_user ON flow_responses (account, user_id) WHERE user_id IS NOT NULL;
ALTER TABLE flow_sessions DROP CONSTRAINT flow_sessions_token,
    ADD UNIQUE (account, flow, token_hash);
CREATE INDEX flow_sessions_token ON flow_sessions (account, token_hash);
CREATE TABLE webhook_messages_old (
    account         text        NOT NULL DEFAULT 'default',
    event_id        uuid        NOT NULL,
    event_at        timestamptz NOT NULL,
    position        integer     NOT NULL,
    kind            text        NOT NULL,
    type            text,
    wamid           text,
    contact_id      uuid,
    phone_number_id text,
    at              timestamptz
);
INSERT INTO webhook_messages_old
SELECT account, event_id, event_at, position, kind, type, wamid, contact_id, phone_number_id, at FROM webhook_messages;
DROP TABLE webhook_messages;
ALTER TABLE webhook_messages_old RENAME TO webhook_messages;
ALTER TABLE webhook_messages ADD CONSTRAINT webhook_messages_pkey PRIMARY KEY (account, event_id, position);
CREATE INDEX webhook_messages_wamid ON webhook_messages (account, wamid);
CREATE INDEX webhook_messages_contact ON webhook_messages (account, contact_id);
DROP INDEX dead_entries_at;
ALTER TABLE dead_entries DROP requeued_at;
DROP TABLE delivery_history, endpoint_events;
DELETE FROM deliveries d WHERE event_type <> 'flow.completed' OR NOT EXISTS (SELECT FROM flow_responses r WHERE r.id = d.subject_id);
DROP INDEX deliveries_due, deliveries_leased, deliveries_event, deliveries_subject, deliveries_order;
ALTER TABLE deliveries
    ADD response_id uuid REFERENCES flow_responses (id),
    ADD finished_at timestamptz,
    DROP CONSTRAINT deliveries_state_check,
    ADD CONSTRAINT deliveries_state_check CHECK (state IN ('due', 'leased', 'delivered', 'dead'));
-- The id is the webhook-id again, of one delivery of each event: those of the
-- other endpoints keep their own.
UPDATE deliveries d SET response_id = subject_id, event_type = 'flow_completed',
    id = CASE WHEN EXISTS (SELECT FROM deliveries o WHERE o.event_id = d.event_id AND o.id < d.id) THEN d.id ELSE d.event_id END;
ALTER TABLE deliveries
    ALTER response_id SET NOT NULL,
    DROP event_id, DROP event_at, DROP subject_id, DROP subject_at, DROP subject_position, DROP flow,
    DROP ordering_key, DROP traceparent, DROP replay, DROP attempt_base, DROP leased_by,
    ADD UNIQUE (account, endpoint_id, event_type, response_id);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, run_at) WHERE state = 'due';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'leased';
CREATE INDEX deliveries_response ON deliveries (response_id);
DELETE FROM callback_endpoints e WHERE payload <> 'seed' AND NOT EXISTS (SELECT FROM deliveries d WHERE d.endpoint_id = e.id);
ALTER TABLE callback_endpoints ADD enabled boolean NOT NULL DEFAULT true;
UPDATE callback_endpoints SET enabled = status <> 'off', paused_until = CASE WHEN status IN ('disabled', 'paused') THEN 'infinity' ELSE paused_until END;
ALTER TABLE callback_endpoints
    DROP description, DROP status, DROP status_reason, DROP status_since, DROP events, DROP flows, DROP payload, DROP secret_expiries,
    DROP headers, DROP auth, DROP schedule, DROP rate_limit, DROP rate_tokens, DROP rate_at, DROP ordered, DROP failing_since,
    DROP disable_after_hours, DROP revision;
