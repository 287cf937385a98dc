;; Which language is a text in?
;;
;; A stage is a program: one record on stdin, its result on stdout, settings as
;; --key=value arguments, exit code 0. It has no files, no network, no
;; environment and no real clock, and every record gets a fresh start of it.
;; This one counts how many words of the text are among the commonest of each
;; language. Replace $judge by your own work, and say in guild.toml what comes
;; in and goes out. `guild build` makes stage.wasm of it.

(module
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param $count i32) (param $bytes i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get"
    (func $args_get (param $pointers i32) (param $texts i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param $fd i32) (param $iovs i32) (param $count i32) (param $done i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovs i32) (param $count i32) (param $done i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param $code i32)))

  ;; Two pages of 64 KiB. What lies where:
  ;;      0  what fd_read and fd_write are told, and what they answer
  ;;     32  the word under way, between two spaces, at most 16 bytes long
  ;;    128  hits of each language, an i64 each
  ;;    256  the languages, 128 bytes each: two letters of code, then the words
  ;;   1024  texts
  ;;   2048  digits of a number
  ;;   4096  arguments: pointers, then texts, to 64 KiB
  ;;  65536  the piece of stdin that was read last
  (memory (export "memory") 2)
  (data (i32.const 256) "de der die das und ist nicht ein eine ich sie es mit von zu den auf ")
  (data (i32.const 384) "en the of and to in is it that was for with not this are you on ")
  (data (i32.const 512) "es el la los las de que y en un una es no con por para se ")
  (data (i32.const 640) "fr le la les des de et est que un une ne pas dans pour qui il ")
  (data (i32.const 1024) "[{\"input\":0,\"value\":{\"class\":\"")   ;; 30 bytes
  (data (i32.const 1056) "\"},\"confidence\":")                     ;; 16 bytes
  (data (i32.const 1088) "}]")
  (data (i32.const 1104) "und\"}}]")                                 ;; 7 bytes
  (data (i32.const 1120) "not a setting: there is --least=NUMBER\n") ;; 39 bytes
  (data (i32.const 1168) "--least=")

  (global $filled (mut i32) (i32.const 0))
  (global $used (mut i32) (i32.const 0))
  (global $all (mut i64) (i64.const 0))

  ;; Writes bytes to a descriptor: 1 is stdout; stderr, 2, is shown by `guild test --input`.
  (func $say (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 1)))))

  ;; The next byte of stdin, or -1 at its end.
  (func $next (result i32)
    (if (i32.eq (global.get $used) (global.get $filled))
      (then
        (i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 65536))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 1))))
        (global.set $used (i32.const 0))
        (global.set $filled (i32.load (i32.const 8)))
        (if (i32.eqz (global.get $filled))
          (then (return (i32.const -1))))))
    (global.set $used (i32.add (global.get $used) (i32.const 1)))
    (i32.load8_u (i32.add (i32.const 65535) (global.get $used))))

  ;; A byte in small letters.
  (func $small (param $byte i32) (result i32)
    (if (result i32) (i32.lt_u (i32.sub (local.get $byte) (i32.const 65)) (i32.const 26))
      (then (i32.add (local.get $byte) (i32.const 32)))
      (else (local.get $byte))))

  ;; Letters are A to Z and everything beyond ASCII; the end, -1, is none.
  (func $is_letter (param $byte i32) (result i32)
    (i32.or
      (i32.lt_u (i32.sub (call $small (local.get $byte)) (i32.const 97)) (i32.const 26))
      (i32.gt_s (local.get $byte) (i32.const 127))))

  ;; Whether as many bytes are the same at two places.
  (func $same (param $a i32) (param $b i32) (param $length i32) (result i32)
    (loop $bytes
      (if (i32.eqz (local.get $length))
        (then (return (i32.const 1))))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br_if $bytes
        (i32.eq
          (i32.load8_u (i32.add (local.get $a) (local.get $length)))
          (i32.load8_u (i32.add (local.get $b) (local.get $length))))))
    (i32.const 0))

  ;; Counts the word under way, of so many bytes and its two spaces, where it is known.
  (func $count (param $length i32)
    (local $language i32) (local $at i32) (local $hits i32)
    (i32.store8 (i32.const 32) (i32.const 32))
    (i32.store8 (i32.add (i32.const 33) (local.get $length)) (i32.const 32))
    (local.set $language (i32.const 256))
    (loop $languages
      ;; Behind the two letters of the code stands the first space.
      (local.set $at (i32.add (local.get $language) (i32.const 2)))
      (block $done
        (loop $places
          (br_if $done (i32.eqz (i32.load8_u (local.get $at))))
          (if (call $same (local.get $at) (i32.const 32) (i32.add (local.get $length) (i32.const 2)))
            (then
              (local.set $hits (i32.shr_u (local.get $language) (i32.const 4)))
              (i64.store offset=112 (local.get $hits)
                (i64.add (i64.load offset=112 (local.get $hits)) (i64.const 1)))
              (global.set $all (i64.add (global.get $all) (i64.const 1)))
              (br $done)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $places)))
      (local.set $language (i32.add (local.get $language) (i32.const 128)))
      (br_if $languages (i32.lt_u (local.get $language) (i32.const 768)))))

  ;; Counts all words of stdin. Words that are too long to be known are left out.
  (func $read
    (local $byte i32) (local $length i32)
    (loop $bytes
      (local.set $byte (call $next))
      (if (call $is_letter (local.get $byte))
        (then
          (if (i32.lt_u (local.get $length) (i32.const 16))
            (then
              (i32.store8 (i32.add (i32.const 33) (local.get $length)) (call $small (local.get $byte)))))
          (local.set $length (i32.add (local.get $length) (i32.const 1))))
        (else
          (if (i32.le_u (i32.sub (local.get $length) (i32.const 1)) (i32.const 15))
            (then (call $count (local.get $length))))
          (local.set $length (i32.const 0))))
      (br_if $bytes (i32.ge_s (local.get $byte) (i32.const 0)))))

  ;; One digit of a number in thousandths to where digits are collected.
  (func $digit (param $place i32) (param $number i64) (param $unit i64)
    (i32.store8 offset=2048 (local.get $place)
      (i32.add (i32.const 48)
        (i32.wrap_i64
          (i64.rem_u (i64.div_u (local.get $number) (local.get $unit)) (i64.const 10))))))

  ;; Writes one prediction as JSON. Below $least known words it does not dare to answer.
  (func $judge (param $least i64)
    (local $language i32) (local $best i32) (local $most i64) (local $share i64)
    (call $read)
    (call $say (i32.const 1) (i32.const 1024) (i32.const 30))
    (if (i32.or (i64.eqz (global.get $all)) (i64.lt_u (global.get $all) (local.get $least)))
      (then
        (call $say (i32.const 1) (i32.const 1104) (i32.const 7))
        (return)))
    (loop $languages
      (if (i64.gt_u (i64.load offset=128 (i32.shl (local.get $language) (i32.const 3))) (local.get $most))
        (then
          (local.set $best (local.get $language))
          (local.set $most (i64.load offset=128 (i32.shl (local.get $language) (i32.const 3))))))
      (local.set $language (i32.add (local.get $language) (i32.const 1)))
      (br_if $languages (i32.lt_u (local.get $language) (i32.const 4))))
    (call $say (i32.const 1) (i32.add (i32.const 256) (i32.shl (local.get $best) (i32.const 7))) (i32.const 2))
    (call $say (i32.const 1) (i32.const 1056) (i32.const 16))
    ;; Thousandths in whole numbers, as 0.875.
    (local.set $share
      (i64.div_u
        (i64.add (i64.mul (i64.const 2000) (local.get $most)) (global.get $all))
        (i64.mul (i64.const 2) (global.get $all))))
    (call $digit (i32.const 0) (local.get $share) (i64.const 1000))
    (i32.store8 offset=2048 (i32.const 1) (i32.const 46))
    (call $digit (i32.const 2) (local.get $share) (i64.const 100))
    (call $digit (i32.const 3) (local.get $share) (i64.const 10))
    (call $digit (i32.const 4) (local.get $share) (i64.const 1))
    (call $say (i32.const 1) (i32.const 2048) (i32.const 5))
    (call $say (i32.const 1) (i32.const 1088) (i32.const 2)))

  ;; Says what the settings are, and ends.
  (func $refuse
    (call $say (i32.const 2) (i32.const 1120) (i32.const 39))
    (call $proc_exit (i32.const 2)))

  ;; The number of --least=NUMBER at this place.
  (func $setting (param $at i32) (result i64)
    (local $number i64) (local $byte i32)
    (if (i32.eqz (call $same (local.get $at) (i32.const 1168) (i32.const 8)))
      (then (call $refuse)))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (loop $digits
      (local.set $byte (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $byte) (i32.const 9))
        (then (call $refuse)))
      (local.set $number
        (i64.add (i64.mul (local.get $number) (i64.const 10)) (i64.extend_i32_u (local.get $byte))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $digits (i32.load8_u (local.get $at))))
    (local.get $number))

  (func (export "_start")
    (local $count i32) (local $each i32) (local $least i64)
    (local.set $least (i64.const 1))
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (local.set $count (i32.load (i32.const 16)))
    ;; Pointers and texts must fit into the room for arguments.
    (if (i32.gt_u
          (i32.add (i32.shl (local.get $count) (i32.const 2)) (i32.load (i32.const 20)))
          (i32.const 61440))
      (then (call $refuse)))
    (drop (call $args_get (i32.const 4096)
      (i32.add (i32.const 4096) (i32.shl (local.get $count) (i32.const 2)))))
    ;; The first argument is the name of the program.
    (local.set $each (i32.const 1))
    (block $done
      (loop $settings
        (br_if $done (i32.ge_u (local.get $each) (local.get $count)))
        (local.set $least
          (call $setting (i32.load offset=4096 (i32.shl (local.get $each) (i32.const 2)))))
        (local.set $each (i32.add (local.get $each) (i32.const 1)))
        (br $settings)))
    (call $judge (local.get $least))))
