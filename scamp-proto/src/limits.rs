//! Every number that bounds memory, time or work, with its unit and its source.
//!
//! These are the defaults; the ones a user may change are fields of
//! [`connection::Config`](crate::connection::Config) and
//! [`session::Config`](crate::session::Config).

use core::time::Duration;

/// Longest header line accepted, in octets, CR LF included (W-4: Perl, C# and RS take 80, JS 40).
pub const LINE: usize = 80;

/// Largest packet body accepted, in octets (W-6: JS, C# and RS; Go and Perl enforce none).
pub const PACKET_BODY: usize = 131_072;

/// The most [`PACKET_BODY`] may be raised to, in octets (W-6: Go may send one packet of any size).
pub const PACKET_BODY_MAX: usize = 16 * 1024 * 1024;

/// Largest HEADER body we send, in octets (W-7: RS may close beyond 127 036).
pub const HEADER_SENT: usize = 126_976;

/// Body octets of one DATA packet we send (W-7).
pub const CHUNK: usize = 32_768;

/// Octets of one message in flight when it starts (A-6: JS and Perl use 65 536, C# 131 072).
pub const WINDOW: u64 = 65_536;

/// Octets of one message in flight at most, once the window has grown (A-6a).
pub const WINDOW_CAP: u64 = 262_144;

/// A window grows only when it is acknowledged within this time (A-6a).
pub const WINDOW_QUICK: Duration = Duration::from_millis(100);

/// Windows fall back for good when no ACK advanced for this long with data waiting (A-6a).
pub const WINDOW_SLOW: Duration = Duration::from_secs(1);

/// Windows grow only while the connection has at most this many octets in flight (A-6a).
pub const WINDOW_TOTAL: u64 = 1024 * 1024;

/// Largest message number and request id we send: 2^53 - 1, JavaScript's last exact integer (W-5).
pub const LAST_NUMBER: u64 = 9_007_199_254_740_991;

/// Body octets queued for sending on one connection.
pub const QUEUED: usize = 1024 * 1024;

/// Octets waiting for the application on one connection before reading pauses.
pub const BUFFERED: usize = 8 * 1024 * 1024;

/// HEADER, TXERR and refusal octets waiting to leave before reading pauses (HD-22).
pub const CONTROL: usize = 256 * 1024;

/// PONGs waiting to leave; older ones are dropped, since any PONG proves life (HD-22).
pub const PONGS: usize = 16;

/// Incoming messages open at once; the connection ends at twice this number (S-6).
pub const OPEN_MESSAGES: usize = 4096;

/// What an open incoming message costs beside its text and body, in octets (hardening 4.2).
pub const MESSAGE_COST: usize = 512;

/// A pause without progress this long sheds the largest unread message (HD-24).
pub const SHED_AFTER: Duration = Duration::from_secs(5);

/// A pause without progress this long, with nothing left to shed, ends the connection.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A packet once begun must be complete within this time (HD-30).
pub const PACKET_TIMEOUT: Duration = Duration::from_secs(30);

/// An open incoming request that brings no octet for this long ends (HD-30).
pub const MESSAGE_IDLE: Duration = Duration::from_secs(300);

/// The transport must take [`WRITE_PROGRESS`] octets in this time while output waits (HD-31).
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// See [`WRITE_TIMEOUT`]; in octets (HD-31).
pub const WRITE_PROGRESS: u64 = 65_536;

/// An outgoing reply whose window stays shut this long is given up (HD-31).
pub const REPLY_STALL: Duration = Duration::from_secs(300);

/// Silence that ends a client's connection when nothing is in progress (S-20).
pub const CLIENT_IDLE: Duration = Duration::from_secs(90);

/// Silence that ends a server's connection when nothing is in progress (S-20).
pub const SERVER_IDLE: Duration = Duration::from_secs(120);

/// Time to connect, shake hands and compare the fingerprint (S-20, HD-18).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closed connection waits for the peer's close (S-35).
pub const CLOSE_LINGER: Duration = Duration::from_secs(1);

/// How often a heartbeat asks, where subscriptions need one (S-27: JS's value).
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a request may take when nothing else is said (S-20: Perl and JS).
pub const RPC_TIMEOUT: Duration = Duration::from_secs(75);

/// What is added to the time limit that an action's flag `tN` gives (S-21: Perl, JS and C#).
pub const FLAG_TIMEOUT_ADDED: Duration = Duration::from_secs(5);

/// The longest time limit an action's flags can give (S-21).
pub const FLAG_TIMEOUT_MOST: Duration = Duration::from_secs(86_400);

/// Largest collected body, in octets (A-13: C# takes 10 MiB for replies, 1 MB for requests).
pub const COLLECTED_BODY: usize = 16 * 1024 * 1024;

/// Collected bodies of one connection together, in octets (hardening 4.2).
pub const COLLECTED: usize = 32 * 1024 * 1024;

/// Requests of one connection in handlers at once (hardening 4.2).
pub const REQUESTS_PER_CONNECTION: usize = 512;

/// Requests of one service in handlers at once (V-10).
pub const REQUESTS: usize = 1024;

/// Requests one client may have outstanding on one connection (hardening 4.2).
pub const OUTSTANDING: usize = 16_384;

/// Exchanges given up whose late replies are still expected.
pub const DISCARD_SET: usize = 65_536;

/// Longest TXERR text we send, in octets (S-9).
pub const TXERR_SENT: usize = 4096;

/// Levels of nesting in header JSON (H-1).
pub const HEADER_DEPTH: usize = 128;

/// Longest `request_id` accepted, in octets as written (hardening 4.2).
pub const REQUEST_ID: usize = 64;

/// Longest action name accepted, in octets (hardening 4.2).
pub const ACTION: usize = 4096;

/// Longest envelope name accepted, in octets (hardening 4.2).
pub const ENVELOPE: usize = 64;

/// Longest other known text field accepted, in octets (hardening 4.2).
pub const HEADER_TEXT: usize = 65_536;

/// Topics one subscription may name (H-6).
pub const TOPICS: usize = 10;

/// Largest authorized_services file read, in octets; the excess is ignored (Z-11).
pub const AUTHORIZED_FILE: usize = 16 * 1024 * 1024;

/// Longest line of an authorized_services file, in octets (Z-11).
pub const AUTHORIZED_LINE: usize = 1024 * 1024;

/// Lines of an authorized_services file, comments included (Z-11).
pub const AUTHORIZED_LINES: usize = 65_536;

/// Longest token of an authorized_services file, in octets. Names of actions end at 4096, so a longer
/// one allows nothing.
pub const AUTHORIZED_TOKEN: usize = 8192;

/// Longest ticket looked at, in octets (T-5).
pub const TICKET: usize = 65_536;

/// Verified tickets remembered (T-7).
pub const TICKETS: usize = 4096;

/// Keys that may verify a ticket: each costs a verification of every ticket that is wrong (T-6).
pub const TICKET_KEYS: usize = 16;

/// Largest file of ticket keys read, in octets (HD-40).
pub const TICKET_KEY_FILE: usize = 1024 * 1024;

/// Largest authorization table read, in octets: some 25 000 actions (HD-4).
pub const TABLE: usize = 4 * 1024 * 1024;

/// How long an authorization table counts from its answer (T-16).
pub const TABLE_AGE: Duration = Duration::from_secs(300);

/// How soon after a failure the authorization table is asked for again (T-16).
pub const TABLE_RETRY: Duration = Duration::from_secs(1);

/// Requests that wait for the authorization table (T-16).
pub const TABLE_WAITERS: usize = 1000;

/// Largest configuration file read, in octets; the excess is ignored (C-5).
pub const CONFIG_FILE: usize = 1024 * 1024;

/// Longest line of a configuration file, in octets (C-5).
pub const CONFIG_LINE: usize = 65_536;

/// Events about one configuration file; the last one counts those left out (HD-4, HD-29).
pub const CONFIG_EVENTS: usize = 100;

/// Output handed over at a time, in octets: one TLS record's worth (performance 3, rule 2).
pub const TURN: usize = 16_384;

/// Octets a message whose whole body is there may send in one turn (HD-74).
pub const WHOLE_TURN: u64 = 65_536;

/// Empty DATA packets accepted in one message (HD-27).
pub const EMPTY_DATA_PER_MESSAGE: u32 = 16;

/// Empty DATA packets accepted in ten seconds (HD-27).
pub const EMPTY_DATA: u64 = 1000;

/// PINGs, and unasked PONGs, accepted in ten seconds (HD-27).
pub const PINGS: u64 = 100;

/// ACKs without effect accepted beside two for each DATA we sent (HD-27).
pub const IDLE_ACKS: u64 = 1000;

/// A DATA packet shorter than this costs the difference from a budget (HD-27), in octets.
pub const SMALL_DATA: usize = 256;

/// The budget for small DATA packets not yet consumed, in octets (HD-27).
pub const SMALL_DATA_BUDGET: u64 = 1024 * 1024;

/// Messages opened and aborted before a handler saw them, in ten seconds (HD-28).
pub const ABORTS: u64 = 1000;

/// Headers with a bad field or an unknown type, in ten seconds (HD-28).
pub const BAD_HEADERS: u64 = 1000;

/// The span the flood budgets refill over (HD-27, HD-28).
pub const FLOOD_SPAN: Duration = Duration::from_secs(10);

/// Notes of one kind passed to the application at once; then one a second (HD-29).
pub const NOTES: u64 = 10;
/// Notes of a connection kept until somebody asks for them; the oldest go first.
pub const NOTES_KEPT: usize = 256;
/// The same for a service, with all its connections.
pub const SERVICE_NOTES_KEPT: usize = 1024;

/// Connections of one service that shake hands at once (V-14, HD-18).
pub const HANDSHAKES: usize = 1024;

/// Connections from one address that shake hands at once (HD-18).
pub const HANDSHAKES_PER_ADDRESS: usize = 64;

/// Octets one service holds for all its connections together (HD-26).
pub const MEM_BUDGET: usize = 512 * 1024 * 1024;

/// How long requests in progress may take to end at shutdown (V-12: RS's value).
pub const SHUTDOWN_DRAIN: Duration = Duration::from_secs(30);

/// How long new requests are still taken after a service began to leave (V-12: JS's value).
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Waiting after the first failure to establish a connection; it doubles with each (S-34).
pub const RECONNECT_FIRST: Duration = Duration::from_millis(50);

/// The longest waiting after a failure to establish a connection, before jitter (S-34).
pub const RECONNECT_MOST: Duration = Duration::from_secs(10);

/// How far waiting before a reconnect strays, in percent either way (S-34).
pub const RECONNECT_JITTER: u64 = 20;

/// A connection that stayed up this long is forgiven its failures (S-34).
pub const RECONNECT_STEADY: Duration = Duration::from_secs(10);

/// The span that pinned connections spread their first attempt over after a loss, so that the
/// clients of one server do not all come back at once (F-13).
pub const RECONNECT_SPREAD: Duration = Duration::from_millis(1500);

/// A place without connections and without anybody waiting is forgotten after this long.
pub const PLACE_KEPT: Duration = Duration::from_secs(300);

/// Calls of one requester that wait for a connection.
pub const WAITING_CALLS: usize = 16_384;

/// Longest content of a waddell frame, in octets: what its length can say (WD-1).
pub const WADDELL_FRAME: usize = 65_535;

/// Longest body of a waddell message, in octets (WD-10).
pub const WADDELL_BODY: usize = WADDELL_FRAME - 18;

/// Malformed waddell frames in a row that end a peer's connection (WD-33).
pub const WADDELL_MALFORMED: u32 = 16;

/// Octets that wait for one waddell peer (HD-47; WD-40 would allow 4 MiB).
pub const WADDELL_PEER_QUEUE: usize = 256 * 1024;

/// Frames that wait for one waddell peer (HD-47).
pub const WADDELL_PEER_FRAMES: usize = 256;

/// Octets that wait for all peers of a waddell server (WD-40).
pub const WADDELL_TOTAL_QUEUE: usize = 256 * 1024 * 1024;

/// A waddell peer's transport must take something in this time while output waits for it (HD-47; WD-42
/// would allow 30 s).
pub const WADDELL_STALL: Duration = Duration::from_secs(10);

/// Ids drawn for a waddell peer before it is turned away (WD-21).
pub const WADDELL_DRAWS: u32 = 100;

/// The least time between two events about a waddell peer's dropped messages (WD-41).
pub const WADDELL_DROP_NOTE: Duration = Duration::from_secs(1);

/// Events of a waddell router or client that wait to be taken; the oldest go first (HD-4).
pub const WADDELL_EVENTS: usize = 1024;

/// Received octets of one waddell connection that wait to be taken before reading pauses (HD-4).
pub const WADDELL_UNTAKEN: usize = 256 * 1024;

/// A waddell server must have assigned an id by then (WD-51).
pub const WADDELL_ASSIGN: Duration = Duration::from_secs(10);

/// Octets that wait to leave a waddell client, or one message (WD-53).
pub const WADDELL_SEND_QUEUE: usize = 1024 * 1024;

/// Silence in the sending direction after which adapters send a waddell keepalive (WD-54).
pub const WADDELL_KEEPALIVE: Duration = Duration::from_secs(30);

/// What is added to the pause before each try to reach a waddell server (WD-70).
pub const WADDELL_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before a try to reach a waddell server (WD-70).
pub const WADDELL_PAUSE_MOST: Duration = Duration::from_secs(5);

/// How far a pause may be lengthened where a seed is given, in percent (WD-70).
pub const WADDELL_JITTER: u64 = 50;

/// A connection to a waddell server that lived this long makes pauses start anew (WD-73).
pub const WADDELL_STABLE: Duration = Duration::from_secs(5);

/// Messages that wait for the reader of a waddell topic (WD-81).
pub const WADDELL_TOPIC_MESSAGES: usize = 256;

/// Octets of bodies that wait for the reader of a waddell topic (WD-81).
pub const WADDELL_TOPIC_QUEUE: usize = 1024 * 1024;

/// Messages kept of a waddell topic that nobody has opened yet (WD-82).
pub const WADDELL_UNOPENED_MESSAGES: usize = 16;

/// Octets of bodies kept of a waddell topic that nobody has opened yet (WD-82).
pub const WADDELL_UNOPENED_QUEUE: usize = 64 * 1024;

/// Waddell topics that nobody has opened of which something is kept (WD-82).
pub const WADDELL_UNOPENED_TOPICS: usize = 64;

/// Longest announcement, in octets, before compression (D-5).
pub const ANNOUNCEMENT: usize = 4 * 1024 * 1024;

/// Longest text within an announcement, in octets (D-5).
pub const ANNOUNCEMENT_TEXT: usize = 4096;

/// Levels of nesting in an announcement's JSON (D-5).
pub const ANNOUNCEMENT_DEPTH: usize = 32;

/// Actions of one service, run lengths summed (D-5: JS's limit).
pub const ANNOUNCEMENT_ACTIONS: u32 = 100_000;

/// Bad actions of one announcement that are told one by one; the rest is counted (HD-29).
pub const BAD_ACTIONS: usize = 10;

/// Smallest RSA key whose announcements are believed, in bits (D-8: fixtures hold some).
pub const SIGNING_KEY_LEAST: usize = 1024;

/// Largest RSA key whose announcements are believed, in bits (D-8).
pub const SIGNING_KEY_MOST: usize = 8192;

/// Largest datagram sent: what fits into one of UDP over IPv4, in octets (D-5).
pub const DATAGRAM_SENT: usize = 65_507;

/// Largest datagram looked at, in octets (D-5).
pub const DATAGRAM: usize = 65_535;

/// How many times its size a datagram may inflate to, beside [`INFLATE_FLOOR`] (HD-33).
pub const INFLATE_RATIO: usize = 64;

/// What any datagram may inflate to, in octets (HD-33).
pub const INFLATE_FLOOR: usize = 16 * 1024;

/// Memory for inflating that is kept between datagrams, in octets: the usual ones fit.
pub const INFLATE_KEPT: usize = 256 * 1024;

/// Texts whose signature is known to be good (D-7).
pub const KNOWN_TEXTS: usize = 10_000;

/// Datagrams looked at in a second (HD-34).
pub const DATAGRAMS: u64 = 4000;

/// Datagrams of one address looked at in a second (HD-34).
pub const DATAGRAMS_PER_SOURCE: u64 = 200;

/// Addresses that datagrams are counted for; all others share one count (HD-4).
pub const SOURCES: usize = 4096;

/// Octets inflated in a second (HD-34).
pub const INFLATED: u64 = 32 * 1024 * 1024;

/// Signatures verified in a second, those of larger keys counting as several (HD-34).
pub const SIGNATURES: u64 = 500;

/// Services known at once (HD-36, D-42).
pub const SERVICES: usize = 10_000;

/// Services of one certificate (HD-36).
pub const SERVICES_PER_FINGERPRINT: usize = 256;

/// Actions of all services together (HD-36).
pub const SERVICE_ACTIONS: u64 = 1_000_000;

/// Services gone whose last timestamp is remembered (D-21).
pub const REPLAY_MARKS: usize = 10_000;

/// How long a service's last timestamp outlives it (D-21).
pub const REPLAY_MARK_AGE: Duration = Duration::from_secs(3600);

/// A service is forgotten at the earliest after this long without news (D-22: Go announces 2.5 s and
/// sends every 5 s).
pub const MIN_TTL: Duration = Duration::from_millis(10_500);

/// Largest cache file read, in octets; the excess is ignored (D-32).
pub const CACHE_FILE: u64 = 256 * 1024 * 1024;

/// Records of a cache file; the excess is ignored (D-32).
pub const CACHE_RECORDS: usize = 100_000;

/// Octets of a cache file that we write (D-42).
pub const CACHE_WRITTEN: usize = 64 * 1024 * 1024;

/// A cache file older than this is stale (D-36).
pub const CACHE_MAX_AGE: Duration = Duration::from_secs(120);

/// How often a file is looked at (D-35).
pub const FILE_LOOK: Duration = Duration::from_secs(1);

/// How often a cache file may be written (D-33).
pub const CACHE_WRITE: Duration = Duration::from_secs(1);

/// How long a cache manager that starts anew listens before it writes (D-34).
pub const CACHE_FIRST_WRITE: Duration = Duration::from_secs(10);

/// How often a torn file is read again at once (HD-41).
pub const TORN_READS: u32 = 3;

/// How often a service announces itself (D-28).
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);

/// The least time between two announcements of a service (D-28).
pub const ANNOUNCE_LEAST: Duration = Duration::from_millis(200);

/// How often a leaving service says so after the first time (D-29).
pub const LEAVE_TIMES: u32 = 10;

/// The time between two farewells (D-29).
pub const LEAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Hosts that unicast peering knows (D-38).
pub const PEERS: usize = 1024;

/// How long a peering host counts after it was seen or hinted at (D-38).
pub const PEER_AGE: Duration = Duration::from_secs(300);

/// How often peering hosts are greeted (D-38).
pub const PEER_INTERVAL: Duration = Duration::from_secs(10);

/// Datagrams waiting to be looked at; of more, the oldest is dropped (HD-38).
pub const DATAGRAM_QUEUE: usize = 256;

/// Failures are counted against an instance for this long (D-45).
pub const FAILURE_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// The longest time that failures put an instance aside for, in minutes, and the most failures that
/// count (D-45).
pub const FAILURE_MINUTES: u32 = 60;

/// Instances whose failures are remembered (HD-4).
pub const FAILURE_MARKS: usize = 10_000;

/// Largest payload of one MessagePasser message a server takes, in octets (HD-48), and the largest
/// a client sends.
pub const MP_MESSAGE: usize = 1024 * 1024;

/// Largest payload of one MessagePasser message a client takes, in octets (mp.md §12: servers other
/// than ours route more than ours).
pub const MP_MESSAGE_MOST: usize = 16 * 1024 * 1024;

/// What a message's value or block may have beside its payload, in octets (mp.md §12).
pub const MP_FRAME: usize = 64 * 1024;

/// A client's first message, with its definition, in octets (HD-48).
pub const MP_FIRST: usize = 4096;

/// What may arrive from a client before it is signed in, in octets (MP-52).
pub const MP_BEFORE: usize = 64 * 1024;

/// Messages a client keeps that arrive before it is signed in (MP-81).
pub const MP_EARLY: usize = 64;

/// Longest name of a MessagePasser client, in octets (MP-8).
pub const MP_NAME: usize = 255;

/// Longest id of a MessagePasser connection, in octets (MP-9).
pub const MP_CONNECTION_ID: usize = 1024;

/// Longest protocol name a MessagePasser connection is opened for, in octets (mp.md §12).
pub const MP_PROTOCOL: usize = 4096;

/// Brackets open at once in a JSON value (MP-12).
pub const MP_JSON_DEPTH: usize = 64;

/// Brackets open at once in a JSON value that a server takes (HD-48).
pub const MP_SERVER_DEPTH: usize = 32;

/// Values within values in a gob block (MP-34).
pub const MP_GOB_DEPTH: usize = 32;

/// Types one gob stream may define (MP-38).
pub const MP_TYPES: usize = 64;

/// Fields of one type a gob stream defines (MP-38).
pub const MP_FIELDS: usize = 256;

/// Longest name of a type or field a gob stream defines, in octets (MP-38).
pub const MP_TYPE_NAME: usize = 255;

/// All definitions of one gob stream, in octets (MP-38).
pub const MP_DEFINITIONS: usize = 64 * 1024;

/// How long signing in may take, at either end (MP-52, MP-81).
pub const MP_AUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a MessagePasser connection may take to open, and an offer to be decided (MP §6.2).
pub const MP_OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that takes nothing for this long while something waits for it has departed (MP-62).
pub const MP_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long what is queued may take to leave at the end (MP-74, MP-83).
pub const MP_LINGER: Duration = Duration::from_secs(1);

/// Octets queued for a client beyond which its senders wait (MP-61).
pub const MP_HIGH_WATER: usize = 1024 * 1024;

/// Octets queued for a client below which its senders go on (MP-61).
pub const MP_LOW_WATER: usize = 256 * 1024;

/// Octets of the server's own messages queued for a client beyond the high water mark (MP-63).
pub const MP_RESERVE: usize = 256 * 1024;

/// Octets a MessagePasser client queues for sending (mp.md §12).
pub const MP_SEND_QUEUE: usize = 1024 * 1024;

/// Octets a MessagePasser client keeps for its application before it stops reading (MP-99).
pub const MP_RECEIVE_BUFFER: usize = 1024 * 1024;

/// Offers of connections an application has not decided (MP-96).
pub const MP_OFFERED: usize = 128;

/// Connections of one MessagePasser client (HD-48).
pub const MP_CONNECTIONS: usize = 1024;

/// Failed sign-ins of one address in a second (HD-48).
pub const MP_FAILURES: u64 = 3;

/// What a queued message costs beside its text and payload, in octets.
pub const MP_MESSAGE_COST: usize = 128;
