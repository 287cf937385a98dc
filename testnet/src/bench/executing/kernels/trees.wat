;; ROUNDS rows of 32 numbers through 64 trees of 10 levels, which lie in arrays: for each inner node a feature and a
;; threshold, for each leaf a number. Its result, the sum of all leaves, is at address 0. `native.rs` does the same in
;; the same order.
;;
;; From 1024: the row. From 65536: the inner nodes, 1,024 places of 8 bytes a tree. From 589824: the leaves, 1,024
;; places of 4 bytes a tree.
(module
  (memory (export "memory") 13)
  (global $x (mut i64) (i64.const 88172645463325252))
  ;; The next number of a xorshift generator, below 2^24.
  (func $next (result i32) (local $x i64)
    (local.set $x (global.get $x))
    (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
    (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
    (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
    (global.set $x (local.get $x))
    (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 40))))
  (func $fill (local $i i32)
    (loop $more
      (i32.store offset=65536 (i32.shl (local.get $i) (i32.const 3)) (i32.and (call $next) (i32.const 31)))
      (f32.store offset=65540 (i32.shl (local.get $i) (i32.const 3)) (f32.convert_i32_s (call $next)))
      (f32.store offset=589824 (i32.shl (local.get $i) (i32.const 2))
        (f32.convert_i32_s (i32.and (call $next) (i32.const 1023))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const 65536)))))
  (func $leaf (param $tree i32) (result f32) (local $at i32) (local $level i32) (local $node i32)
    (loop $down
      (local.set $node (i32.shl (i32.add (local.get $tree) (local.get $at)) (i32.const 3)))
      (local.set $at
        (i32.add
          (i32.add (i32.shl (local.get $at) (i32.const 1)) (i32.const 1))
          (f32.gt
            (f32.load offset=1024 (i32.shl (i32.load offset=65536 (local.get $node)) (i32.const 2)))
            (f32.load offset=65540 (local.get $node)))))
      (local.set $level (i32.add (local.get $level) (i32.const 1)))
      (br_if $down (i32.lt_u (local.get $level) (i32.const 10))))
    (f32.load offset=589824
      (i32.shl
        (i32.add (local.get $tree) (i32.sub (local.get $at) (i32.const 1023)))
        (i32.const 2))))
  (func (export "_start") (local $round i32) (local $i i32) (local $tree i32) (local $sum f64)
    (call $fill)
    (loop $rounds
      (local.set $i (i32.const 0))
      (loop $row
        (f32.store offset=1024 (i32.shl (local.get $i) (i32.const 2)) (f32.convert_i32_s (call $next)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $row (i32.lt_u (local.get $i) (i32.const 32))))
      (local.set $tree (i32.const 0))
      (loop $trees
        (local.set $sum (f64.add (local.get $sum) (f64.promote_f32 (call $leaf (local.get $tree)))))
        (local.set $tree (i32.add (local.get $tree) (i32.const 1024)))
        (br_if $trees (i32.lt_u (local.get $tree) (i32.const 65536))))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $rounds (i32.lt_u (local.get $round) (i32.const ROUNDS))))
    (f64.store (i32.const 0) (local.get $sum))))
