;; What the installer runs on a node to see whether applications start there: it prints a
;; line and ends well. As text, so that no compiler has a part in its digest.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; Where the line is and how long, as fd_write wants it told.
  (data (i32.const 0) "\10\00\00\00\11\00\00\00")
  (data (i32.const 16) "Hello from Skiff\n")
  (func (export "_start")
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then unreachable))))
