/* What a Cortex-M4 of QEMU (board mps2-an386) needs before main: vectors, FPU, and a tick counter.
 * QEMU with `-icount shift=0` takes one nanosecond an instruction; SysTick counts at 25 MHz, a tick
 * every 40 instructions. */

#include <stdint.h>

#define CPACR (*(volatile uint32_t *)0xe000ed88)
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xe000e010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xe000e014)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xe000e018)

extern uint32_t stack_top;
void _start(void); /* of newlib: sets up semihosting, calls main, exits */

void reset_handler(void);
void fault_handler(void);

void reset_handler(void)
{
    CPACR |= 0xfu << 20; /* the FPU may be used */
    __asm__ volatile("dsb\n isb");
    SYSTICK_RELOAD = 0xffffffu;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5; /* on, at the processor's clock, without an interrupt */
    _start();
}

/* Leave QEMU with a failure, by semihosting: SYS_EXIT for "run-time error". */
void fault_handler(void)
{
    register uint32_t operation __asm__("r0") = 0x18, reason __asm__("r1") = 0x20023;
    __asm__ volatile("bkpt 0xab" : : "r"(operation), "r"(reason));
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,     reset_handler, fault_handler, fault_handler, fault_handler, fault_handler,
    fault_handler,  0,             0,             0,             0,             fault_handler,
    fault_handler,  0,             fault_handler, fault_handler};

/* SysTick counts down. It wraps after 16,777,216 ticks, 671 million instructions. */
static uint32_t before, total;

unsigned long self_test_ticks(void);
unsigned long self_test_ticks(void)
{
    const uint32_t now = SYSTICK_VALUE;
    total += (before - now) & 0xffffffu;
    before = now;
    return total;
}
