/*
 * What C code cannot say about the machine: one PCI root with its windows and
 * interrupt wiring, the ISA devices, and the power-off state.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "BINNCL", "BINNACLE", 1)
{
	/* Replaced when the tables are built: base and length of the window
	 * above all RAM.  Bytes, because SeaBIOS reads no 64-bit integers. */
	Name (HIGH, Buffer (16)
	{
		0xB1, 0xAA, 0xC1, 0xEB, 0x0A, 0x5E, 0x00, 0x01,
		0xB1, 0xAA, 0xC1, 0xE1, 0xE7, 0x00, 0x00, 0x02
	})

	/* 1 once the system says that it uses the IOAPIC. */
	Name (PICF, 0)
	Method (_PIC, 1, NotSerialized)
	{
		PICF = Arg0
	}

	/* SLP_TYP 0 powers off. */
	Name (_S5, Package () { 0, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_SEG, 0)
			Name (_BBN, 0)

			/* The system may use everything that PCI Express
			 * offers; there is nothing to hand over. */
			Method (_OSC, 4, NotSerialized)
			{
				CreateDWordField (Arg3, 0, CDW1)
				CreateDWordField (Arg3, 8, CDW3)
				If (Arg0 != ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))
				{
					CDW1 |= 4
				}
				Else
				{
					CDW3 &= 0x10
				}
				Return (Arg3)
			}

			Name (CR32, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed,
					MaxFixed, PosDecode,
					0, 0x0000, 0x00FF, 0, 0x0100)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed,
					PosDecode, EntireRange,
					0, 0x0000, 0x0CF7, 0, 0x0CF8)
				WordIO (ResourceProducer, MinFixed, MaxFixed,
					PosDecode, EntireRange,
					0, 0x0D00, 0xFFFF, 0, 0xF300)
				DWordMemory (ResourceProducer, PosDecode,
					MinFixed, MaxFixed, Cacheable,
					ReadWrite,
					0, 0x000A0000, 0x000BFFFF, 0,
					0x00020000)
				DWordMemory (ResourceProducer, PosDecode,
					MinFixed, MaxFixed, NonCacheable,
					ReadWrite,
					0, 0x80000000, 0xAFFFFFFF, 0,
					0x30000000)
				DWordMemory (ResourceProducer, PosDecode,
					MinFixed, MaxFixed, NonCacheable,
					ReadWrite,
					0, 0xC0000000, 0xFEBFFFFF, 0,
					0x3EC00000)
			})

			Name (CR64, ResourceTemplate ()
			{
				QWordMemory (ResourceProducer, PosDecode,
					MinFixed, MaxFixed, Cacheable,
					ReadWrite,
					0, 0x100000000, 0x1FFFFFFFF, 0,
					0x100000000,,, WIN)
			})

			Method (_CRS, 0, Serialized)
			{
				CreateQWordField (HIGH, 0, HBAS)
				CreateQWordField (HIGH, 8, HLEN)
				If (HLEN == 0)
				{
					Return (CR32)
				}
				CreateQWordField (CR64, \_SB.PCI0.WIN._MIN, WMIN)
				CreateQWordField (CR64, \_SB.PCI0.WIN._MAX, WMAX)
				CreateQWordField (CR64, \_SB.PCI0.WIN._LEN, WLEN)
				WMIN = HBAS
				WLEN = HLEN
				WMAX = HBAS + HLEN - 1
				Return (ConcatenateResTemplate (CR32, CR64))
			}

			/* Slots 25-31 are wired to PIRQ A-D, the others rotate
			 * over E-H; Arg0: IOAPIC in use. */
			Method (PRTB, 1, Serialized)
			{
				Local0 = Package (128) {}
				Local1 = 0
				While (Local1 < 128)
				{
					Local2 = Local1 >> 2
					Local3 = Local1 & 3
					If (Local2 >= 25)
					{
						Local5 = Local3
					}
					Else
					{
						Local5 = 4 + ((Local2 + Local3) & 3)
					}
					Local4 = Package (4) { 0, 0, 0, 0 }
					Local4[0] = (Local2 << 16) | 0xFFFF
					Local4[1] = Local3
					If (Arg0)
					{
						Local4[3] = 16 + Local5
					}
					Else
					{
						Local4[3] = 10 + ((Local5 >> 1) & 1)
					}
					Local0[Local1] = Local4
					Local1++
				}
				Return (Local0)
			}

			Method (_PRT, 0, Serialized)
			{
				Return (PRTB (PICF))
			}

			Device (ISA)
			{
				Name (_ADR, 0x001F0000)

				Device (RTC)
				{
					Name (_HID, EisaId ("PNP0B00"))
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x70, 0x70, 1, 2)
						IRQNoFlags () { 8 }
					})
				}

				Device (KBD)
				{
					Name (_HID, EisaId ("PNP0303"))
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x60, 0x60, 1, 1)
						IO (Decode16, 0x64, 0x64, 1, 1)
						IRQNoFlags () { 1 }
					})
				}

				Device (MOU)
				{
					Name (_HID, EisaId ("PNP0F13"))
					Name (_CRS, ResourceTemplate ()
					{
						IRQNoFlags () { 12 }
					})
				}

				Device (COM1)
				{
					Name (_HID, EisaId ("PNP0501"))
					Name (_UID, 1)
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x3F8, 0x3F8, 1, 8)
						IRQNoFlags () { 4 }
					})
				}
			}
		}

		/* Keeps others off the configuration space and the chipset. */
		Device (RSVD)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xB0000000, 0x10000000)
				IO (Decode16, 0x600, 0x600, 1, 0x80)
			})
		}

		/* Lets a Linux guest find the firmware configuration. */
		Device (FWCF)
		{
			Name (_HID, "QEMU0002")
			Name (_STA, 0x0B)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x510, 0x510, 1, 12)
			})
		}
	}
}
