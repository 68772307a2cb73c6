;; A module of Spin 1, in the binary interface of wit-bindgen 0.2. It sends a request to itself,
;; and answers with the status of the answer, or with 500 and the number of the error.
(module
  (import "wasi-outbound-http" "request" (func $request
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 16) "http://module.spin.internal/")

  (func $allocate (export "canonical_abi_realloc")
      (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (if (i32.eqz (local.get $new)) (then (return (local.get $align))))
    (local.set $at
      (i32.and
        (i32.sub (i32.add (global.get $free) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $new)))
    (local.get $at))

  (func (export "canonical_abi_free") (param i32 i32 i32))

  (func (export "handle-http-request")
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    ;; No headers, no parameters, no body.
    (call $request (i32.const 0) (i32.const 16) (i32.const 28)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))
    (i32.store16 (i32.const 1024)
      (if (result i32) (i32.load8_u (i32.const 2048))
        (then (i32.add (i32.const 500) (i32.load8_u (i32.const 2052))))
        (else (i32.load16_u (i32.const 2052)))))
    (i32.const 1024)))
