/* The fences of the wake protocol on a machine with store buffers (x86-TSO), which C++ has no words for.
   WAITER: 2 membarrier, 1 a fence of its own, 0 none. PRODUCER: 1 a fence, 0 none. LOOK: 1 looks again.
   A lost wake is the waiter asleep for ever: an invalid end state.

     waiter:   sleeping = 1; WAITER's fence; look at data; none: sleep while sleeping == 1
     producer: data = 1; PRODUCER's fence; look at sleeping; 1: exchange it with 0, wake

   Ships: 2 and 0; where membarrier is missing, 1 and 1. */
#ifndef WAITER
#define WAITER 2
#endif
#ifndef PRODUCER
#define PRODUCER 0
#endif
#ifndef LOOK
#define LOOK 1
#endif

byte data = 0, sleeping = 0;
byte data_buffer = 0, sleeping_buffer = 0; /* 0 empty, else the value + 1 */
bool woken = false;

active proctype store_buffers() {
end:
  do
  :: atomic { data_buffer > 0 -> data = data_buffer - 1; data_buffer = 0 }
  :: atomic { sleeping_buffer > 0 -> sleeping = sleeping_buffer - 1; sleeping_buffer = 0 }
  od
}

active proctype waiter() {
  byte found = 0;
  do
  :: data == 1 -> break
  :: else ->
    sleeping_buffer = 2;
    if
    :: WAITER == 2 -> (sleeping_buffer == 0 && data_buffer == 0)
    :: WAITER == 1 -> (sleeping_buffer == 0)
    :: WAITER == 0 -> skip
    fi;
    if
    :: LOOK == 1 -> found = data
    :: LOOK == 0 -> found = 0
    fi;
    if
    :: found == 1 -> break
    :: else ->
      (sleeping_buffer == 0); /* entering the kernel drains it */
      if
      :: sleeping == 0 -> skip /* the kernel's own look at the word */
      :: else -> (woken); woken = false
      fi
    fi
  od
}

active proctype producer() {
  byte asleep;
  data_buffer = 2;
  if
  :: PRODUCER == 1 -> (data_buffer == 0)
  :: PRODUCER == 0 -> skip
  fi;
  asleep = sleeping;
  if
  :: asleep == 1 ->
    (data_buffer == 0); /* a locked exchange drains it */
    atomic { asleep = sleeping; sleeping = 0 };
    if
    :: asleep == 1 -> woken = true
    :: else -> skip
    fi
  :: else -> skip
  fi
}
