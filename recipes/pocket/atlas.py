"""Countries and chemical elements: the real facts of the pocket world."""

from __future__ import annotations

from recipes.pocket.seeds import terms

# Only countries with one short name, whose capital is another word. The famous ones are the common ones below.
_COUNTRIES = {
    "Europe": (
        "Albania Tirana, Austria Vienna, Belarus Minsk, Belgium Brussels, Bulgaria Sofia, Croatia Zagreb, Cyprus "
        "Nicosia, Czechia Prague, Denmark Copenhagen, Estonia Tallinn, Finland Helsinki, France Paris, Germany "
        "Berlin, Greece Athens, Hungary Budapest, Iceland Reykjavik, Ireland Dublin, Italy Rome, Latvia Riga, "
        "Liechtenstein Vaduz, Lithuania Vilnius, Malta Valletta, Moldova Chisinau, Montenegro Podgorica, Norway "
        "Oslo, Poland Warsaw, Portugal Lisbon, Romania Bucharest, Russia Moscow, Serbia Belgrade, Slovakia "
        "Bratislava, Slovenia Ljubljana, Spain Madrid, Sweden Stockholm, Switzerland Bern, Ukraine Kyiv, England "
        "London, Scotland Edinburgh, Wales Cardiff"
    ),
    "Asia": (
        "Afghanistan Kabul, Armenia Yerevan, Azerbaijan Baku, Bahrain Manama, Bangladesh Dhaka, Bhutan Thimphu, "
        "Cambodia Phnom_Penh, China Beijing, India New_Delhi, Indonesia Jakarta, Iran Tehran, Iraq Baghdad, Japan "
        "Tokyo, Jordan Amman, Kazakhstan Astana, Kyrgyzstan Bishkek, Laos Vientiane, Lebanon Beirut, Malaysia "
        "Kuala_Lumpur, Mongolia Ulaanbaatar, Myanmar Naypyidaw, Nepal Kathmandu, Oman Muscat, Pakistan Islamabad, "
        "Qatar Doha, Syria Damascus, Tajikistan Dushanbe, Thailand Bangkok, Turkey Ankara, Turkmenistan Ashgabat, "
        "Uzbekistan Tashkent, Vietnam Hanoi, Yemen Sanaa, Georgia Tbilisi"
    ),
    "Africa": (
        "Algeria Algiers, Angola Luanda, Benin Porto-Novo, Botswana Gaborone, Burundi Gitega, Cameroon Yaounde, "
        "Chad Ndjamena, Egypt Cairo, Eritrea Asmara, Eswatini Mbabane, Ethiopia Addis_Ababa, Gabon Libreville, "
        "Ghana Accra, Kenya Nairobi, Lesotho Maseru, Liberia Monrovia, Libya Tripoli, Madagascar Antananarivo, "
        "Malawi Lilongwe, Mali Bamako, Mauritania Nouakchott, Mauritius Port_Louis, Morocco Rabat, Mozambique "
        "Maputo, Namibia Windhoek, Niger Niamey, Nigeria Abuja, Rwanda Kigali, Senegal Dakar, Seychelles "
        "Victoria, Somalia Mogadishu, Sudan Khartoum, Tanzania Dodoma, Togo Lome, Tunisia Tunis, Uganda Kampala, "
        "Zambia Lusaka, Zimbabwe Harare, Guinea Conakry"
    ),
    "America": (
        "Argentina Buenos_Aires, Barbados Bridgetown, Belize Belmopan, Bolivia Sucre, Brazil Brasilia, Canada "
        "Ottawa, Chile Santiago, Colombia Bogota, Cuba Havana, Dominica Roseau, Ecuador Quito, Grenada "
        "Saint_Georges, Guyana Georgetown, Haiti Port_au_Prince, Honduras Tegucigalpa, Jamaica Kingston, "
        "Nicaragua Managua, Paraguay Asuncion, Peru Lima, Suriname Paramaribo, Uruguay Montevideo, Venezuela "
        "Caracas"
    ),
    "Oceania": (
        "Australia Canberra, Fiji Suva, Kiribati Tarawa, Nauru Yaren, Palau Ngerulmud, Samoa Apia, Tonga "
        "Nukualofa, Tuvalu Funafuti, Vanuatu Port_Vila, Micronesia Palikir"
    ),
}

FAMOUS_COUNTRIES = terms(
    "France Japan Italy Spain Germany Egypt India China Brazil Canada Kenya Australia Greece Norway Peru Turkey "
    "England Russia Poland Sweden Cuba Nigeria Argentina Ireland Morocco Vietnam Fiji Portugal Chile Thailand"
)

_ELEMENTS = (
    "hydrogen H, helium He, lithium Li, beryllium Be, boron B, carbon C, nitrogen N, oxygen O, fluorine F, neon "
    "Ne, sodium Na, magnesium Mg, aluminium Al, silicon Si, phosphorus P, sulfur S, chlorine Cl, argon Ar, "
    "potassium K, calcium Ca, scandium Sc, titanium Ti, vanadium V, chromium Cr, manganese Mn, iron Fe, cobalt "
    "Co, nickel Ni, copper Cu, zinc Zn, gallium Ga, germanium Ge, selenium Se, bromine Br, krypton Kr, rubidium "
    "Rb, strontium Sr, yttrium Y, zirconium Zr, niobium Nb, molybdenum Mo, ruthenium Ru, rhodium Rh, palladium "
    "Pd, silver Ag, cadmium Cd, tin Sn, antimony Sb, tellurium Te, xenon Xe, caesium Cs, barium Ba, lanthanum La, "
    "cerium Ce, neodymium Nd, tungsten W, osmium Os, iridium Ir, platinum Pt, gold Au, mercury Hg, thallium Tl, "
    "lead Pb, bismuth Bi, radon Rn, radium Ra, thorium Th, uranium U"
)

FAMOUS_ELEMENTS = terms(
    "gold silver iron copper tin lead zinc oxygen hydrogen carbon nitrogen helium neon sodium mercury sulfur "
    "calcium nickel platinum silicon"
)

# country -> (capital, continent); two-word capitals are written with _ above
COUNTRIES: dict[str, tuple[str, str]] = {
    name: (city.replace("_", " "), continent)
    for continent, rows in _COUNTRIES.items()
    for name, city in (row.split() for row in rows.split(", "))
}
ELEMENTS: dict[str, str] = dict(row.split() for row in _ELEMENTS.split(", "))
