;; The tightest loop that computes something: ROUNDS numbers of a xorshift generator, summed as floating-point numbers.
;; Its result is a number at address 0. `native.rs` does the same in the same order.
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $round i32) (local $x i64) (local $sum f64)
    (local.set $x (i64.const 88172645463325252))
    (loop $more
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (local.set $sum
        (f64.add (local.get $sum) (f64.convert_i64_s (i64.shr_u (local.get $x) (i64.const 40)))))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $round) (i32.const ROUNDS))))
    (f64.store (i32.const 0) (local.get $sum))))
