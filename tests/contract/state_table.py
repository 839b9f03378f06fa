"""The state machine as a table, written by hand from sections 4 to 7 and 13 of the contract: situation x call.

Every situation says how it is reached and what can be seen then; every row says what one call returns and changes.

columns   call | return ("-" is no status) | state | result text | kv prompt generated selected | last_error | model
`=`       as before the call
counts    KV length, prompt tokens, generated tokens, selected token ("-" is null); "clear" is "0 0 0 -"

The model is `models.story_model`: capacity 8; `a` is followed by `b`, `c`, `d`, EOS, and `x` by the byte 0xFF.
"""

from __future__ import annotations

TABLE = """
# uninitialized: nothing was called
before             | - | Uninitialized      |                       | clear     | null                  | no
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | Initialized        | =                     | =         | =                     | =
load               | 0 | Ready              | model loaded          | =         | =                     | yes
load null          | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
load length 0      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
load broken        | 6 | Recoverable error  | invalid header        | =         | invalid header        | =
configure          | 0 | Initialized        | =                     | =         | =                     | =
configure badly    | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate           | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate null      | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate bad utf-8 | 3 | Recoverable error  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate too long  | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate bad output| 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
next token         | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
result ptr         | - | Initialized        | =                     | =         | =                     | =
result len         | - | Initialized        | =                     | =         | =                     | =
diagnostics ptr    | - | Initialized        | =                     | =         | =                     | =
diagnostics len    | - | Initialized        | =                     | =         | =                     | =
reset              | 0 | Initialized        | =                     | =         | =                     | =
free               | 0 | Freed              | =                     | =         | =                     | =

# initialized: init
before             | 0 | Initialized        |                       | clear     | null                  | no
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | =                  | =                     | =         | =                     | =
load               | 0 | Ready              | model loaded          | =         | =                     | yes
load null          | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
load length 0      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
load broken        | 6 | Recoverable error  | invalid header        | =         | invalid header        | =
configure          | 0 | =                  | =                     | =         | =                     | =
configure badly    | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate           | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate null      | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate bad utf-8 | 3 | Recoverable error  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate too long  | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate bad output| 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
next token         | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | =                  | =                     | =         | =                     | =
free               | 0 | Freed              | =                     | =         | =                     | =

# ready: load
before             | 0 | Ready              | model loaded          | clear     | null                  | yes
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | =                  | =                     | =         | =                     | =
load               | 0 | =                  | =                     | =         | =                     | =
load null          | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
load length 0      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
load broken        | 6 | Recoverable error  | invalid header        | =         | invalid header        | no
configure          | 0 | =                  | =                     | =         | =                     | =
configure badly    | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate           | 0 | Continuation ready | c                     | 3 2 1 99  | =                     | =
generate null      | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate bad utf-8 | 3 | Recoverable error  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate too long  | 11| Recoverable error  | context exceeded      | =         | context exceeded      | =
generate bad output| 3 | Recoverable error  | invalid utf-8         | =         | invalid utf-8         | =
next token         | 13| Recoverable error  | generation failed     | =         | generation failed     | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | =                  |                       | =         | =                     | =
free               | 0 | Freed              |                       | =         | =                     | no

# continuation ready: load, generate two
before             | 0 | Continuation ready | bc                    | 4 2 2 99  | null                  | yes
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | =                  | =                     | =         | =                     | =
load               | 0 | Ready              | model loaded          | clear     | =                     | =
load null          | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
load length 0      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
load broken        | 6 | Recoverable error  | invalid header        | clear     | invalid header        | no
configure          | 0 | =                  | =                     | =         | =                     | =
configure badly    | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate           | 0 | =                  | c                     | 3 2 1 99  | =                     | =
generate null      | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate bad utf-8 | 3 | Recoverable error  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate too long  | 11| Recoverable error  | context exceeded      | clear     | context exceeded      | =
generate bad output| 3 | Recoverable error  | invalid utf-8         | clear     | invalid utf-8         | =
next token         | 0 | =                  | d                     | 5 2 3 100 | =                     | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | Ready              |                       | clear     | =                     | =
free               | 0 | Freed              |                       | clear     | =                     | no

# recoverable error without a model: next token
before             | 12| Recoverable error  | model not loaded      | clear     | model not loaded      | no
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | Initialized        | =                     | =         | null                  | =
load               | 0 | Ready              | model loaded          | =         | null                  | yes
load null          | 1 | =                  | null pointer          | =         | null pointer          | =
load length 0      | 2 | =                  | invalid length        | =         | invalid length        | =
load broken        | 6 | =                  | invalid header        | =         | invalid header        | =
configure          | 0 | Initialized        | =                     | =         | null                  | =
configure badly    | 2 | =                  | invalid length        | =         | invalid length        | =
generate           | 12| =                  | =                     | =         | =                     | =
generate null      | 1 | =                  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | =                  | invalid length        | =         | invalid length        | =
generate bad utf-8 | 3 | =                  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 12| =                  | =                     | =         | =                     | =
generate too long  | 12| =                  | =                     | =         | =                     | =
generate bad output| 12| =                  | =                     | =         | =                     | =
next token         | 12| =                  | =                     | =         | =                     | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | Initialized        |                       | =         | null                  | =
free               | 0 | Freed              |                       | =         | null                  | =

# recoverable error with a model: load, configure badly
before             | 2 | Recoverable error  | invalid length        | clear     | invalid length        | yes
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | Ready              | =                     | =         | null                  | =
load               | 0 | Ready              | model loaded          | =         | null                  | =
load null          | 1 | =                  | null pointer          | =         | null pointer          | =
load length 0      | 2 | =                  | =                     | =         | =                     | =
load broken        | 6 | =                  | invalid header        | =         | invalid header        | no
configure          | 0 | Ready              | =                     | =         | null                  | =
configure badly    | 2 | =                  | =                     | =         | =                     | =
generate           | 0 | Continuation ready | c                     | 3 2 1 99  | null                  | =
generate null      | 1 | =                  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | =                  | =                     | =         | =                     | =
generate bad utf-8 | 3 | =                  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 2 | =                  | =                     | =         | =                     | =
generate too long  | 11| =                  | context exceeded      | =         | context exceeded      | =
generate bad output| 3 | =                  | invalid utf-8         | =         | invalid utf-8         | =
next token         | 13| =                  | generation failed     | =         | generation failed     | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | Ready              |                       | =         | null                  | =
free               | 0 | Freed              |                       | =         | null                  | no

# recoverable error with a context: load, generate two, configure badly
before             | 2 | Recoverable error  | invalid length        | 4 2 2 99  | invalid length        | yes
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | Continuation ready | =                     | =         | null                  | =
load               | 0 | Ready              | model loaded          | clear     | null                  | =
load null          | 1 | =                  | null pointer          | =         | null pointer          | =
load length 0      | 2 | =                  | =                     | =         | =                     | =
load broken        | 6 | =                  | invalid header        | clear     | invalid header        | no
configure          | 0 | Continuation ready | =                     | =         | null                  | =
configure badly    | 2 | =                  | =                     | =         | =                     | =
generate           | 0 | Continuation ready | c                     | 3 2 1 99  | null                  | =
generate null      | 1 | =                  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | =                  | =                     | =         | =                     | =
generate bad utf-8 | 3 | =                  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 2 | =                  | =                     | =         | =                     | =
generate too long  | 11| =                  | context exceeded      | clear     | context exceeded      | =
generate bad output| 3 | =                  | invalid utf-8         | clear     | invalid utf-8         | =
next token         | 0 | Continuation ready | d                     | 5 2 3 100 | null                  | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | Ready              |                       | clear     | null                  | =
free               | 0 | Freed              |                       | clear     | null                  | no

# freed: load, generate two, free
before             | 0 | Freed              |                       | clear     | null                  | no
alloc              | - | =                  | =                     | =         | =                     | =
dealloc            | - | =                  | =                     | =         | =                     | =
init               | 0 | =                  | =                     | =         | =                     | =
load               | 0 | Ready              | model loaded          | =         | =                     | yes
load null          | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
load length 0      | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
load broken        | 6 | Recoverable error  | invalid header        | =         | invalid header        | =
configure          | 0 | =                  | =                     | =         | =                     | =
configure badly    | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate           | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate null      | 1 | Recoverable error  | null pointer          | =         | null pointer          | =
generate length 0  | 2 | Recoverable error  | invalid length        | =         | invalid length        | =
generate bad utf-8 | 3 | Recoverable error  | invalid utf-8         | =         | invalid utf-8         | =
generate none      | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate too long  | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
generate bad output| 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
next token         | 12| Recoverable error  | model not loaded      | =         | model not loaded      | =
result ptr         | - | =                  | =                     | =         | =                     | =
result len         | - | =                  | =                     | =         | =                     | =
diagnostics ptr    | - | =                  | =                     | =         | =                     | =
diagnostics len    | - | =                  | =                     | =         | =                     | =
reset              | 0 | =                  | =                     | =         | =                     | =
free               | 0 | =                  | =                     | =         | =                     | =
"""
