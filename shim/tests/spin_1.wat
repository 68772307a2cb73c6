;; A module of Spin 1, in the binary interface of wit-bindgen 0.2. It answers by its path:
;; `/variable` the variable `who`, `/status` a status that is none, `/trap` not at all, `/loops` never, and
;; everything else the request's body, or its URI where that is empty.
(module
  (import "spin-config" "get-config" (func $variable (param i32 i32 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 16) "who")
  (data (i32.const 32) "content-type")
  (data (i32.const 48) "text/plain")
  (data (i32.const 64) "x-method")
  (data (i32.const 80) "gppdpho")
  ;; Two headers: pairs of pointers and lengths.
  (data (i32.const 128) "\20\00\00\00\0c\00\00\00\30\00\00\00\0a\00\00\00")

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

  ;; This is not called, as in Spin.
  (func (export "_start") unreachable)

  ;; This is, before anything else.
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.const 1)))

  (func (export "handle-http-request")
      (param $method i32) (param $uri i32) (param $uri_len i32)
      (param $headers i32) (param $headers_len i32) (param $params i32) (param $params_len i32)
      (param $has_body i32) (param $body i32) (param $body_len i32) (result i32)
    (if (i32.eqz (global.get $ready)) (then unreachable))
    ;; There is always a body, and there are never parameters.
    (if (i32.eqz (local.get $has_body)) (then unreachable))
    (if (local.get $params_len) (then unreachable))
    (if (i32.eq (local.get $uri_len) (i32.const 5)) (then unreachable))
    (if (i32.eq (local.get $uri_len) (i32.const 6)) (then (loop $ever (br $ever))))
    ;; x-method: the first letter of the method's name.
    (i32.store (i32.const 144) (i32.const 64))
    (i32.store (i32.const 148) (i32.const 8))
    (i32.store (i32.const 152) (i32.add (i32.const 80) (local.get $method)))
    (i32.store (i32.const 156) (i32.const 1))
    (i32.store16 (i32.const 1024)
      (select (i32.const 601) (i32.const 200) (i32.eq (local.get $uri_len) (i32.const 7))))
    (i32.store (i32.const 1028) (i32.const 1))
    (i32.store (i32.const 1032) (i32.const 128))
    (i32.store (i32.const 1036) (i32.const 2))
    (i32.store (i32.const 1040) (i32.const 1))
    (if (i32.eq (local.get $uri_len) (i32.const 9))
      (then
        (call $variable (i32.const 16) (i32.const 3) (i32.const 2048))
        (if (i32.load8_u (i32.const 2048)) (then unreachable))
        (local.set $body (i32.load (i32.const 2052)))
        (local.set $body_len (i32.load (i32.const 2056))))
      (else
        (if (i32.eqz (local.get $body_len))
          (then
            (local.set $body (local.get $uri))
            (local.set $body_len (local.get $uri_len))))))
    (i32.store (i32.const 1044) (local.get $body))
    (i32.store (i32.const 1048) (local.get $body_len))
    (i32.const 1024)))
