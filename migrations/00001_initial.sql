-- +goose Up
-- Every table carries its account, and every unique key begins with it.
-- Bodies that must stay byte for byte are bytea; answers are json (never jsonb:
-- it reorders keys and refuses \u0000).

CREATE TABLE flows (
    id            uuid PRIMARY KEY,
    account       text        NOT NULL DEFAULT 'default',
    name          text        NOT NULL,
    status        text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'deprecated')),
    description   text,
    meta_flow_id  text,
    template_name text,
    callback_url  text,
    version       integer     NOT NULL DEFAULT 0, -- the active one of flow_versions; 0 before the first
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz
);
CREATE UNIQUE INDEX flows_name ON flows (account, name) WHERE deleted_at IS NULL;

-- Immutable. A definition is what both columns of bytes hash to.
CREATE TABLE flow_versions (
    account    text        NOT NULL DEFAULT 'default',
    flow_id    uuid        NOT NULL REFERENCES flows (id),
    version    integer     NOT NULL,
    definition text        NOT NULL, -- SHA-256 of the published document, hex
    flow_json  bytea       NOT NULL,
    logic      bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, flow_id, version)
);
CREATE INDEX flow_versions_definition ON flow_versions (account, definition);

CREATE TABLE contacts (
    id            uuid PRIMARY KEY,
    account       text        NOT NULL DEFAULT 'default',
    user_id       text,        -- business-scoped user id (BSUID), the first identity
    phone_number  text,        -- wa_id
    username      text,
    name          text,
    merged_into   uuid REFERENCES contacts (id),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX contacts_user_id ON contacts (account, user_id) WHERE user_id IS NOT NULL AND merged_into IS NULL;
CREATE UNIQUE INDEX contacts_phone_number ON contacts (account, phone_number) WHERE phone_number IS NOT NULL AND merged_into IS NULL;

CREATE TABLE flow_sessions (
    id               uuid PRIMARY KEY,
    account          text        NOT NULL DEFAULT 'default',
    flow             text        NOT NULL, -- name in the endpoint's path
    flow_id          uuid REFERENCES flows (id),
    token_hash       text        NOT NULL, -- SHA-256 of flow_token, hex
    flow_token       text        NOT NULL,
    user_id          text,        -- from a signed token
    definition       text,
    version          bigint      NOT NULL,
    attempt          integer     NOT NULL,
    status           text        NOT NULL CHECK (status IN ('active', 'completed')),
    current_screen   text,
    answers          json,        -- what the latest completion sent
    incomplete       boolean     NOT NULL DEFAULT false,
    started_at       timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    completed_at     timestamptz,
    UNIQUE (account, flow, token_hash)
);
CREATE INDEX flow_sessions_token ON flow_sessions (account, token_hash);

CREATE TABLE flow_steps (
    id            uuid        NOT NULL,
    at            timestamptz NOT NULL,
    account       text        NOT NULL DEFAULT 'default',
    kind          text        NOT NULL, -- step | stateless_step | client_error
    flow          text        NOT NULL,
    definition    text,
    token_hash    text,        -- null without a usable token
    version       bigint,
    attempt       integer,
    action        text        NOT NULL,
    from_screen   text,
    to_screen     text,
    answers       json,
    params        json,
    params_hash   text,        -- of an incomplete stateless completion: finds the answers to flag, never their user
    outcome       text        NOT NULL,
    incomplete    boolean     NOT NULL DEFAULT false,
    milliseconds  bigint      NOT NULL DEFAULT 0,
    error_key     text,
    error_message text,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX flow_steps_token ON flow_steps (account, token_hash);
CREATE INDEX flow_steps_params ON flow_steps (account, params_hash) WHERE params_hash IS NOT NULL;
CREATE TABLE flow_steps_default PARTITION OF flow_steps DEFAULT;

CREATE TABLE webhook_events (
    id          uuid        NOT NULL,
    received_at timestamptz NOT NULL,
    account     text        NOT NULL DEFAULT 'default',
    body        bytea       NOT NULL, -- Meta's bytes as they came
    problem     text,        -- why the body, or part of it, could not be read
    PRIMARY KEY (received_at, id)
) PARTITION BY RANGE (received_at);
CREATE TABLE webhook_events_default PARTITION OF webhook_events DEFAULT;

-- One row per message or status inside a raw batch, so that one person's data
-- can be found there and redacted.
CREATE TABLE webhook_messages (
    account         text        NOT NULL DEFAULT 'default',
    event_id        uuid        NOT NULL,
    event_at        timestamptz NOT NULL,
    position        integer     NOT NULL, -- running number inside the event
    kind            text        NOT NULL, -- message | status
    type            text,                 -- message type, or the status
    wamid           text,
    contact_id      uuid,
    phone_number_id text,
    at              timestamptz,
    PRIMARY KEY (account, event_id, position)
);
CREATE INDEX webhook_messages_wamid ON webhook_messages (account, wamid);
CREATE INDEX webhook_messages_contact ON webhook_messages (account, contact_id);

CREATE TABLE flow_responses (
    id               uuid PRIMARY KEY,
    account          text        NOT NULL DEFAULT 'default',
    source           text        NOT NULL CHECK (source IN ('nfm_reply', 'endpoint')),
    wamid            text,
    context_id       text,        -- wamid of the flow message that was answered
    session_id       uuid REFERENCES flow_sessions (id),
    attempt          integer,
    flow_id          uuid REFERENCES flows (id),
    flow             text,
    token_hash       text,        -- null without a usable token
    flow_token       text,
    contact_id       uuid REFERENCES contacts (id),
    phone_number     text,
    user_id          text,
    phone_number_id  text,
    response_data    json,        -- null when what came is no JSON
    response_raw     bytea,       -- what came, when it is no JSON object
    params_hash      text,
    incomplete       boolean     NOT NULL DEFAULT false,
    webhook_event_id uuid,
    answered_at      timestamptz NOT NULL, -- Meta's timestamp, else the edge's
    received_at      timestamptz NOT NULL DEFAULT now(),
    -- Attempts are counted from 1 again when the edge has forgotten the session.
    attempt_started_at timestamptz -- null for an nfm_reply
);
CREATE UNIQUE INDEX flow_responses_wamid ON flow_responses (account, wamid) WHERE wamid IS NOT NULL;
CREATE UNIQUE INDEX flow_responses_attempt ON flow_responses (account, session_id, attempt, attempt_started_at) WHERE source = 'endpoint';
CREATE INDEX flow_responses_token ON flow_responses (account, token_hash) WHERE session_id IS NULL;
CREATE INDEX flow_responses_params ON flow_responses (account, params_hash, received_at) WHERE params_hash IS NOT NULL AND NOT incomplete;
CREATE INDEX flow_responses_received ON flow_responses (account, received_at);

-- What has been stored already. Kept longer than anything can be redelivered.
CREATE TABLE event_keys (
    account text        NOT NULL DEFAULT 'default',
    kind    text        NOT NULL,
    dedup   text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, kind, dedup)
);
CREATE INDEX event_keys_at ON event_keys USING brin (at);

CREATE TABLE callback_endpoints (
    id            uuid PRIMARY KEY,
    account       text        NOT NULL DEFAULT 'default', -- '*' receives from every account
    name          text        NOT NULL,
    url           text        NOT NULL,
    secrets       text[]      NOT NULL, -- whsec_…, current first
    enabled       boolean     NOT NULL DEFAULT true,
    timeout_ms    integer     NOT NULL,
    max_attempts  integer     NOT NULL,
    max_in_flight integer     NOT NULL DEFAULT 32,
    paused_until  timestamptz,          -- Retry-After, or the breaker
    failures      integer     NOT NULL DEFAULT 0, -- consecutive
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account, name)
);

CREATE TABLE deliveries (
    id          uuid PRIMARY KEY, -- webhook-id, the same for every attempt
    account     text        NOT NULL DEFAULT 'default',
    endpoint_id uuid        NOT NULL REFERENCES callback_endpoints (id),
    event_type  text        NOT NULL,
    response_id uuid        NOT NULL REFERENCES flow_responses (id),
    state       text        NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'leased', 'delivered', 'dead')),
    attempt     integer     NOT NULL DEFAULT 0, -- attempts begun
    run_at      timestamptz NOT NULL DEFAULT now(),
    lease_id    uuid,
    lease_until timestamptz,
    body        bytea,       -- rendered at the first attempt, then frozen
    last_status integer,
    last_error  text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (account, endpoint_id, event_type, response_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, run_at) WHERE state = 'due';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'leased';
CREATE INDEX deliveries_response ON deliveries (response_id);

CREATE TABLE attempts (
    id            uuid        NOT NULL,
    at            timestamptz NOT NULL,
    account       text        NOT NULL DEFAULT 'default',
    delivery_id   uuid        NOT NULL,
    endpoint_id   uuid        NOT NULL,
    number        integer     NOT NULL,
    tries         integer     NOT NULL DEFAULT 1, -- connections tried inside this attempt
    status        integer,     -- HTTP status; null when none came
    error         text,
    milliseconds  bigint      NOT NULL,
    response_body bytea,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX attempts_delivery ON attempts (account, delivery_id);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- Entries that could not be stored. Nothing is dropped: the fields are here as
-- they came, and in the shard's dead stream.
CREATE TABLE dead_entries (
    id        uuid PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    account   text        NOT NULL DEFAULT 'default',
    stream    text        NOT NULL,
    stream_id text        NOT NULL,
    kind      text,
    reason    text        NOT NULL,
    fields    bytea       NOT NULL, -- JSON object: field name to base64 of its bytes
    UNIQUE (account, stream, stream_id)
);

-- What has arrived of each writing process on each shard, so that a gap proves
-- a loss. seen and lost are sets of sequence numbers.
CREATE TABLE stream_sources (
    src          text           NOT NULL,
    shard        integer        NOT NULL,
    seen         int8multirange NOT NULL DEFAULT '{}',
    lost         int8multirange NOT NULL DEFAULT '{}', -- reported as missing
    mark         bigint         NOT NULL DEFAULT 0,
    marked_at    timestamptz,
    last_seen_at timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (src, shard)
);

-- +goose Down
DROP TABLE stream_sources, dead_entries, attempts, deliveries, callback_endpoints, event_keys,
    flow_responses, webhook_messages, webhook_events, flow_steps, flow_sessions, contacts, flow_versions, flows;
