/* The threads of a block of a kernel with barriers: each is a fibre, with a stack of its own.

   A fibre runs until it reaches a barrier.  A warp's (__syncwarp, shuffles) opens as soon as its 32 threads wait
   there, and one warp goes on as far as it can before the next one begins.  Then the block's (__syncthreads) opens,
   where all wait.  Threads that have returned hold nobody up (as on Volta and later).  If nothing can open, the
   kernel is deadlocked, which is reported. */

#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <ucontext.h>

typedef struct { unsigned x, y, z; } index3;
index3 emu_thread, emu_block, emu_block_size, emu_grid_size;     /* threadIdx, blockIdx, blockDim, gridDim */

enum { MOST = 1024, STACK = 16384, LINE = 64, WARP = 32 };
enum { RUNNABLE, AT_BLOCK_BARRIER, AT_WARP_BARRIER, RETURNED };
static struct fibre { int made, state; index3 thread; char *stack; jmp_buf here; } fibres[MOST];
static struct fibre *current;
static jmp_buf scheduler;
static void (*job)(void *);
static void *job_argument;

int emu_backwards;          /* the order in which threads and blocks take their turns: CUDA promises none */
_Alignas(64) char emu_shared[49152];

static void yield(int state)
{
    struct fibre *me = current;
    me->state = state;
    if (!_setjmp(me->here)) _longjmp(scheduler, 1);
}

static void life(void)
{
    for (;;) {
        job(job_argument);
        yield(RETURNED);
    }
}

static void go_on(struct fibre *f)
{
    current = f;
    emu_thread = f->thread;
    if (_setjmp(scheduler)) return;
    if (f->made) _longjmp(f->here, 1);
    f->made = 1;
    int i = f - fibres;
    if (!f->stack) f->stack = malloc(STACK + 4096);
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = f->stack + i * 5 % 64 * LINE;  /* or all stacks would share a few lines of the cache */
    start.uc_stack.ss_size = STACK;
    start.uc_link = NULL;
    makecontext(&start, life, 0);
    setcontext(&start);
}

/* Open a barrier that all of these fibres have reached, but for those that returned; how many may go on. */
static int open_barrier(int state, int from, int to)
{
    int opened = 0;
    for (int i = from; i < to; i++)
        if (fibres[i].state != state && fibres[i].state != RETURNED) return 0;
    for (int i = from; i < to; i++)
        if (fibres[i].state == state) { fibres[i].state = RUNNABLE; opened++; }
    return opened;
}

/* Let the fibres of a warp run as far as they can; how many returned. */
static int run_warp(int from, int to)
{
    int returned = 0;
    do {
        for (int k = 0; k < to - from; k++) {
            struct fibre *f = &fibres[emu_backwards ? to - 1 - k : from + k];
            if (f->state != RUNNABLE) continue;
            go_on(f);
            returned += f->state == RETURNED;
        }
    } while (open_barrier(AT_WARP_BARRIER, from, to));
    return returned;
}

/* Run `thread` for every thread of the current block; what went wrong, or NULL. */
const char *emu_run_block(void (*thread)(void *), void *argument)
{
    index3 size = emu_block_size;
    int count = size.x * size.y * size.z, left = count;
    job = thread;
    job_argument = argument;
    for (int i = 0; i < count; i++) {
        fibres[i].state = RUNNABLE;
        fibres[i].thread = (index3){i % size.x, i / size.x % size.y, i / size.x / size.y};
    }
    const int warps = (count + WARP - 1) / WARP;
    while (left) {
        for (int k = 0; k < warps; k++) {
            int first = (emu_backwards ? warps - 1 - k : k) * WARP, end = first + WARP;
            left -= run_warp(first, end < count ? end : count);
        }
        if (left && !open_barrier(AT_BLOCK_BARRIER, 0, count)) {
            for (int i = 0; i < count; i++) fibres[i].made = fibres[i].state == RETURNED ? fibres[i].made : 0;
            return "cupyemu: deadlock: the threads of a block wait at different barriers";
        }
    }
    return NULL;
}

void emu_barrier(int of_the_block) { yield(of_the_block ? AT_BLOCK_BARRIER : AT_WARP_BARRIER); }
int emu_thread_number(void) { return (int)(current - fibres); }
