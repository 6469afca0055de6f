// Shapes of what comes from arriero, as `worker/feeds/live_state.py` and `protocol/values.py` have
// them, and what views are made of. There is no code in here.

/**
 * @typedef {"stopped" | "starting" | "ready" | "draining" | "stopping" | "asleep"} ModelState
 *
 * @typedef {object} ErrorInfo
 * @property {string} code
 * @property {string} message
 *
 * @typedef {object} Progress
 * @property {string} phase
 * @property {number} elapsed_s
 * @property {string | null} other
 * @property {number | null} requests
 * @property {number | null} fraction
 * @property {number | null} eta_s
 * @property {number | null} bytes_done
 * @property {number | null} bytes_total
 * @property {string} detail
 *
 * @typedef {object} ModelStatus
 * @property {string} model
 * @property {ModelState} state
 * @property {number} since
 * @property {number} swap
 * @property {number | null} pid
 * @property {string | null} endpoint
 * @property {number} in_flight
 * @property {Progress | null} progress
 * @property {ErrorInfo | null} error
 * @property {number} retry_in_s
 * @property {boolean} stale
 * @property {boolean} removed
 * @property {Record<string, number> | null} memory
 * @property {string | null} memory_source
 * @property {string} pin
 * @property {number | null} idle_since
 * @property {number | null} unloads_at
 * @property {boolean} pin_ordered
 *
 * @typedef {{model: string, waiting: number, is_full: boolean}} QueueEntry
 *
 * @typedef {object} DeviceStatus
 * @property {string} device
 * @property {string} name
 * @property {number} total
 * @property {number} reserve
 * @property {number} foreign
 * @property {number} reserved
 * @property {number} free
 * @property {boolean} held
 * @property {number | null} held_s
 *
 * @typedef {object} KeepStatus
 * @property {number} limit
 * @property {number} room
 * @property {number} held
 * @property {boolean} locked
 * @property {string} remark
 * @property {{model: string, size: number, held: number}[]} models
 *
 * @typedef {object} StoreStatus
 * @property {string} path
 * @property {number} rows
 * @property {number} captures
 * @property {number} size_bytes
 * @property {number} waiting
 * @property {number} lost
 * @property {string} problem
 *
 * @typedef {object} PeerStatus
 * @property {string} peer
 * @property {string} url
 * @property {string} kind
 * @property {boolean} watched
 * @property {"up" | "away" | "unknown"} link
 * @property {boolean} followed
 * @property {"closed" | "open" | "half-open"} circuit
 * @property {number} failures
 * @property {string} why
 * @property {number | null} retry_at
 * @property {number} models
 * @property {number} left_out
 * @property {number | null} listed_at
 * @property {{model: string, state: ModelState, running: number, waiting: number, fraction: number | null, eta_s: number | null}[]} running
 * @property {string[]} failing
 *
 * @typedef {{worker: number, pid: number, state: string, in_flight: number, leases: string[]}} WorkerStatus
 *
 * @typedef {object} ConfigStatus
 * @property {number} generation
 * @property {number} loaded_at
 * @property {string[]} files
 * @property {string[]} needs_restart
 * @property {{t: number, problems: string[], more: number} | null} failed
 * @property {number} warnings
 * @property {string[]} findings
 * @property {string | null} profile
 *
 * @typedef {{version: string, listen: string, started_at: number, link: "up" | "away"}} Host
 *
 * @typedef {object} CatalogEntry
 * @property {string} id
 * @property {"peer" | "selector"} [kind] a model of this machine, if it is not there
 * @property {string} [name]
 * @property {string} [description]
 * @property {string[]} [aliases]
 * @property {boolean} [unlisted]
 * @property {boolean} [remote]
 * @property {number} [ttl_s]
 * @property {number} [limit]
 * @property {string[]} [targets]
 * @property {{in?: string[], out?: string[], tools?: boolean, reranker?: boolean, context?: number}} [abilities]
 *
 * @typedef {object} RunningRequest
 * @property {string} id
 * @property {number} t
 * @property {string} model
 * @property {string} path
 * @property {string} method
 * @property {string} peer
 * @property {number} bytes_out
 * @property {Record<string, string>} request_fields
 * @property {Record<string, string>} response_fields
 * @property {"queue" | "load" | "prompt" | "answer"} phase
 * @property {number} output_tokens
 * @property {number | null} ttft_ms
 *
 * @typedef {Record<string, any> & {request_id: string, t: number, model: string, outcome: string, load_stages?: LoadStage[]}} RequestRecord
 * @typedef {{phase: string, from_ms: number, took_ms: number}} LoadStage
 * @typedef {{id: number, record: RequestRecord, has_capture: boolean}} NumberedRecord
 * @typedef {Record<string, any> & {type: string, seq: number, t: number}} Decision
 *
 * @typedef {object} LiveMessage
 * @property {number} t
 * @property {boolean} [all]
 * @property {ModelStatus[]} [models]
 * @property {string[]} [gone]
 * @property {QueueEntry[]} [queue]
 * @property {WorkerStatus[]} [workers]
 * @property {DeviceStatus[]} [devices]
 * @property {KeepStatus | null} [kept]
 * @property {StoreStatus | null} [store]
 * @property {PeerStatus[]} [peers]
 * @property {ConfigStatus} [config]
 * @property {Host} [host]
 * @property {CatalogEntry[]} [catalog]
 * @property {RunningRequest[]} [running]
 * @property {string[]} [ended]
 * @property {NumberedRecord[]} [records]
 * @property {boolean} [records_lost]
 * @property {Decision[]} [decisions]
 *
 * @typedef {object} WhoAmI
 * @property {string} name
 * @property {boolean} keys
 * @property {string[]} scopes
 * @property {string[] | null} models
 * @property {string} version
 * @property {string} tree
 */

/**
 * @typedef {object} Page What a view is given.
 * @property {import("./store.js").Store} store How all stands.
 * @property {import("./api.js").Api} api Asks arriero.
 * @property {WhoAmI} me Who looks, and what may be done.
 * @property {URLSearchParams} query Of the address, when the view was opened.
 * @property {string} rest Of the path, behind the view's name; without a slash before it.
 * @property {unknown} state As `step` was given it; null: this place was not stepped to.
 * @property {(path: string) => void} go Opens another view, such as "/ui/logs/qwen".
 * @property {(query: Record<string, string>) => void} remember Puts it into the address; empty values are left out.
 * @property {(state: unknown) => void} step Makes an entry in the browser's history, to which one can go back.
 *
 * @typedef {object} View A module in views/ exports one as `view`.
 * @property {import("./session.js").Scope} needs The scope without which it cannot show anything.
 * @property {(root: HTMLElement, page: Page) => () => void} mount Fills `root`, which is empty but for the heading; returns what undoes it.
 */

export {};
