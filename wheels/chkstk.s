# Windows gives a stack its memory page by page, in order: a function with more than a page of its own calls this first.
# rax: bytes below the caller's stack pointer. Every register stays as it is.
    .globl ___chkstk_ms
___chkstk_ms:
    pushq %rax
    pushq %rcx
    leaq 24(%rsp), %rcx
1:  cmpq $0x1000, %rax
    jbe 2f
    subq $0x1000, %rcx
    orb $0, (%rcx)
    subq $0x1000, %rax
    jmp 1b
2:  subq %rax, %rcx
    orb $0, (%rcx)
    popq %rcx
    popq %rax
    retq
