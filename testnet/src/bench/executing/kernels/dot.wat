;; Sum over ROUNDS of the dot product of two arrays of 4,096 numbers, four products at a time into four sums.
;; Its result is a number at address 0. `native.rs` does the same in the same order.
(module
  (memory (export "memory") 1)
  (func $fill (local $i i32) (local $at i32)
    (loop $more
      (local.set $at (i32.shl (local.get $i) (i32.const 2)))
      (f32.store offset=1024 (local.get $at)
        (f32.mul (f32.convert_i32_u (i32.and (local.get $i) (i32.const 15))) (f32.const 0.25)))
      (f32.store offset=17408 (local.get $at)
        (f32.sub (f32.convert_i32_u (i32.and (local.get $i) (i32.const 7))) (f32.const 3.5)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const 4096)))))
  (func (export "_start")
    (local $round i32) (local $at i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (call $fill)
    (loop $rounds
      (local.set $at (i32.const 0))
      (loop $more
        (local.set $a (f32x4.add (local.get $a)
          (f32x4.mul (v128.load offset=1024 (local.get $at)) (v128.load offset=17408 (local.get $at)))))
        (local.set $b (f32x4.add (local.get $b)
          (f32x4.mul (v128.load offset=1040 (local.get $at)) (v128.load offset=17424 (local.get $at)))))
        (local.set $c (f32x4.add (local.get $c)
          (f32x4.mul (v128.load offset=1056 (local.get $at)) (v128.load offset=17440 (local.get $at)))))
        (local.set $d (f32x4.add (local.get $d)
          (f32x4.mul (v128.load offset=1072 (local.get $at)) (v128.load offset=17456 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (br_if $more (i32.lt_u (local.get $at) (i32.const 16384))))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $rounds (i32.lt_u (local.get $round) (i32.const ROUNDS))))
    (local.set $a
      (f32x4.add (f32x4.add (local.get $a) (local.get $b)) (f32x4.add (local.get $c) (local.get $d))))
    (f64.store (i32.const 0)
      (f64.promote_f32
        (f32.add
          (f32.add (f32x4.extract_lane 0 (local.get $a)) (f32x4.extract_lane 1 (local.get $a)))
          (f32.add (f32x4.extract_lane 2 (local.get $a)) (f32x4.extract_lane 3 (local.get $a))))))))
