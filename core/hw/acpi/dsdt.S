/* The compiled DSDT, as read-only data. */
	.section .rodata
	.global acpi_dsdt, acpi_dsdt_end
	.hidden acpi_dsdt, acpi_dsdt_end
	.type acpi_dsdt, @object
	.balign 16
acpi_dsdt:
	.incbin DSDT_AML
acpi_dsdt_end:
	.size acpi_dsdt, acpi_dsdt_end - acpi_dsdt
	.section .note.GNU-stack, "", @progbits
